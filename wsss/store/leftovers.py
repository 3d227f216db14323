"""What may be left to delete in a storage: half-made and damaged artefacts, files of cut-off evictions."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from wsss.store.artefact import EVICTED, RECORD
from wsss.store.file_lease import FileLease, leases_at
from wsss.store.lease import LEASE, Leases
from wsss.store.records import say_once

PARTIAL, DAMAGED, CLEARING = "partial", "damaged", "clearing"
"""Folders of a store: artefacts being made, those set aside, leases of who moves or evicts one."""
KEPT = (RECORD, EVICTED)
"""What stays of an artefact whose files were deleted."""


@dataclass(frozen=True)
class Leftover:
    """A half-made or damaged artefact, which may be deleted when nobody works on it.

    `leases` reads who does; `remove` deletes it, and does nothing when a run began to after it was listed.
    """

    name: str
    bytes: int
    leases: Callable[[], Leases]
    remove: Callable[[], None]


def besides_record(folder: Path) -> list[Path]:
    """Return what an artefact's folder holds besides its record and the mark of an eviction."""
    return [folder / name for name in names_in(folder) if name not in KEPT]


def folder_bytes(folder: Path) -> int:
    """Return the bytes of a file, or of all files below a folder; those that vanish meanwhile don't count."""
    total = 0
    for path in (folder, *folder.rglob("*")):
        with contextlib.suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def names_in(folder: Path) -> list[str]:
    """Return the names in a folder, none without one."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError as error:
        say_once(str(folder), f"can't be read: {error.strerror}; it counts as empty")
        return []


def leases_in(folder: Path) -> Leases:
    """Return the lease on what is made in a folder."""
    return leases_at(folder / LEASE)


def remove_half_made(folder: Path, dead: Collection[str]) -> None:
    """Delete the folder under a lease of our own, so that nobody begins to work in it meanwhile.

    `dead` are the owners of leases that may be taken over; under another one, nothing is deleted.
    """
    lease = FileLease(folder)
    if not lease.take_over(set(dead)):
        return
    lease.stop()
    try:
        aside = folder.with_name(f".removed-{uuid.uuid4().hex[:8]}")
        folder.rename(aside)
        shutil.rmtree(aside)
    finally:
        lease.release()


def leases_below(root: Path) -> Leases:
    """Return the leases on all artefacts that are being made in a store's folder."""
    found: Leases = {}
    for name in names_in(root / PARTIAL):
        found.update(leases_in(root / PARTIAL / name))
    return found


def half_made_below(root: Path) -> list[Leftover]:
    """Return what has been begun in a store's folder, and the claims of runs that died."""
    made = [(name, root / PARTIAL / name) for name in sorted(names_in(root / PARTIAL))]
    claims = [(f"{key}-claim", root / CLEARING / key) for key in sorted(names_in(root / CLEARING))]
    return [
        Leftover(
            name,
            folder_bytes(folder),
            functools.partial(leases_in, folder),
            functools.partial(remove_half_made, folder, tuple(leases_in(folder))),
        )
        for name, folder in [*made, *claims]
    ]


def set_aside_below(root: Path) -> list[Leftover]:
    """Return the damaged artefacts that were set aside in a store's folder."""
    folders = [root / DAMAGED / name for name in sorted(names_in(root / DAMAGED))]
    return [
        Leftover(folder.name, folder_bytes(folder), dict, functools.partial(shutil.rmtree, folder))
        for folder in folders
    ]
