"""The artefact store: content-addressed folders, each written once and never changed.

    <root>/<key[:2]>/<key>/artefact.json    written last: with it the artefact exists
    <root>/partial/<key>/                   an artefact being made (see `wsss.pipeline.partial`)
    <root>/damaged/<key>-<n>/               set aside because a file was missing or had changed
    <root>/clearing/<key>/                  somebody is moving a broken or evicted artefact away

A commit is a rename of a finished folder, so that the first of two writers wins and a reader sees
all of an artefact or nothing. What is in the way of a commit is moved by one process at a time, so
that none moves what another has just put there.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss.errors import PreflightError, Problem
from wsss.files import (
    damaged_files,
    describe_files,
    files_below,
    read_json,
    sha256_json,
    write_json,
    writing,
)
from wsss.pipeline.lease import LEASE, TIMEOUT, FileLease, read_lease
from wsss.pipeline.partial import Partial

RECORD = "artefact.json"
EVICTED = "evicted"
REMEMBERED = 512
"""How many records a store keeps in memory."""
Leases = dict[str, tuple[str, dict[str, Any]]]
"""Owner → (what changes with every sign of life, content)."""


@dataclass(frozen=True)
class Artefact:
    """A finished artefact. `record` is the content of its artefact.json.

    `gone` is whether the files were deleted from a storage that isn't this machine's folder.
    """

    key: str
    folder: Path
    record: Mapping[str, Any]
    gone: bool | None = None

    @property
    def stage(self) -> str:
        return str(self.record["stage"])

    @functools.cached_property
    def digest(self) -> str:
        """Identity of the files' content: equal digests mean bitwise equal files."""
        return sha256_json({name: facts["sha256"] for name, facts in self.record["files"].items()})

    @property
    def bytes(self) -> int:
        return sum(int(facts["bytes"]) for facts in self.record["files"].values())

    @property
    def evicted(self) -> bool:
        """The files were deleted to save space; the record stays."""
        return (self.folder / EVICTED).exists() if self.gone is None else self.gone


@dataclass(frozen=True)
class Leftover:
    """A half-made or damaged artefact, which may be deleted when nobody works on it.

    `leases` reads who does; `remove` deletes it, and does nothing when somebody just began to.
    """

    name: str
    bytes: int
    leases: Callable[[], Leases]
    remove: Callable[[], None]


class Store:
    """Artefacts by key, on one folder that every process (and node) can reach.

    `lease_timeout` is how many seconds a run that makes an artefact may give no sign of life before
    another one takes over. Raises `PreflightError` when the folder can't be created or written.
    """

    def __init__(self, root: Path, *, lease_timeout: float = TIMEOUT) -> None:
        self.root = root
        self.lease_timeout = lease_timeout
        self._verified: set[str] = set()
        self._records: OrderedDict[str, tuple[tuple[int, int, int], Artefact]] = OrderedDict()
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PreflightError(
                Problem(str(root), f"the storage can't be written: {error.strerror}", "give --storage FOLDER")
            ) from error

    def folder(self, key: str) -> Path:
        return self.root / key[:2] / key

    def known(self, key: str) -> Artefact | None:
        """Return the artefact if it was ever finished, even when its files have been evicted."""
        folder = self.folder(key)
        try:
            facts = (folder / RECORD).stat()
        except OSError:
            return None
        stamp = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
        remembered = self._records.get(key)
        if remembered and remembered[0] == stamp:
            self._records.move_to_end(key)
            return remembered[1]
        record = read_json(folder / RECORD)
        if not record:
            return None
        artefact = Artefact(key, folder, record)
        self._records[key] = (stamp, artefact)
        if len(self._records) > REMEMBERED:
            self._records.popitem(last=False)
        return artefact

    def has(self, key: str) -> bool:
        """Tell whether all files of the artefact are there; a damaged one is set aside."""
        return self.get(key) is not None

    def get(self, key: str, *, thorough: bool = False) -> Artefact | None:
        """Return the artefact if all its files are there; set a damaged one aside and return None.

        `thorough` reads every byte (once per process and key) and compares digests; otherwise only
        names and sizes are compared.
        """
        artefact = self.known(key)
        if artefact is None or artefact.evicted:
            return None
        thorough = thorough and key not in self._verified
        if self._damaged(key, thorough):
            with self._alone(key):
                if self._damaged(key, thorough):
                    self.set_aside(key)
                    return None
                artefact = self.known(key)  # made again meanwhile
        if thorough:
            self._verified.add(key)
        return artefact

    def _damaged(self, key: str, thorough: bool) -> bool:
        artefact = self.known(key)
        if artefact is None or artefact.evicted:
            return artefact is None
        return bool(damaged_files(artefact.folder, dict(artefact.record["files"]), thorough=thorough))

    def set_aside(self, key: str) -> None:
        """Move an artefact out of the way, so that it is made again; nothing is deleted."""
        aside = self.root / "damaged" / f"{key}-{uuid.uuid4().hex[:6]}"
        with writing(aside):
            aside.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # another process was quicker
                self.folder(key).rename(aside)
                if (aside / EVICTED).exists():  # there is nothing to keep
                    shutil.rmtree(aside, ignore_errors=True)
        self._verified.discard(key)

    def partial(self, key: str, *, inputs: Sequence[str] = ()) -> Partial:
        """Return the place where the artefact is made; `inputs` are the keys of what it is made from."""
        return Partial(self.root, key, inputs=inputs, timeout=self.lease_timeout)

    def using(self, keys: Sequence[str]) -> contextlib.AbstractContextManager[None]:
        """Hold on to the files of artefacts on this machine while they are read."""
        return contextlib.nullcontext()

    def commit(self, key: str, folder: Path, record: Mapping[str, Any]) -> Artefact:
        """Turn a folder of finished files into the artefact of `key`; the first commit wins.

        `folder` must be on the store's file system and is gone afterwards. Raises `StorageError` when
        the storage is full or read-only.
        """
        with writing(self.folder(key)):
            self._describe(key, folder, record)
            return self._take(key, folder)

    def _describe(self, key: str, folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
        names = [name for name in files_below(folder) if name != RECORD]
        whole = {**record, "key": key, "files": describe_files(folder, names)}
        write_json(folder / RECORD, whole)
        return whole

    def _take(self, key: str, folder: Path) -> Artefact:
        """Rename a folder with its record to where the artefact belongs, unless there is one."""
        target = self.folder(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        if self._in_the_way(key):
            with self._alone(key):
                if self._in_the_way(key):
                    self.set_aside(key)
        record: dict[str, Any] = read_json(folder / RECORD) or {}
        try:
            folder.rename(target)
        except OSError:
            artefact = self.get(key)
            if artefact is None:
                raise
            shutil.rmtree(folder)
            return artefact
        return Artefact(key, target, record)

    def _in_the_way(self, key: str) -> bool:
        """Tell whether a folder without a readable record, or an evicted one, is where `key` belongs."""
        if not self.folder(key).exists():
            return False
        known = self.known(key)
        return known is None or known.evicted

    @contextlib.contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        """Keep other processes from moving what is at `key`; one that died is waited for a lease long."""
        claim = self.root / "clearing" / key
        with writing(claim):
            claim.parent.mkdir(parents=True, exist_ok=True)
            while True:
                try:
                    claim.mkdir()
                    break
                except FileExistsError:
                    with contextlib.suppress(OSError):
                        if time.time() - claim.stat().st_mtime > self.lease_timeout:
                            claim.rmdir()
                    time.sleep(0.01)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                claim.rmdir()

    def evict(self, key: str) -> int:
        """Delete an artefact's files, keep its record; return the bytes freed."""
        artefact = self.known(key)
        if artefact is None or artefact.evicted:
            return 0
        (artefact.folder / EVICTED).touch()
        for name in artefact.record["files"]:
            (artefact.folder / name).unlink(missing_ok=True)
        return artefact.bytes

    def __iter__(self) -> Iterator[Artefact]:
        """Iterate over all finished artefacts, evicted ones too, in the order of their keys."""
        for key in self.keys():
            artefact = self.known(key)
            if artefact is not None:
                yield artefact

    def keys(self) -> list[str]:
        """Return the keys of all artefacts, sorted, without looking into them."""
        return [
            key
            for prefix in sorted(name for name in _names(self.root) if len(name) == 2)
            for key in sorted(_names(self.root / prefix))
        ]

    def leases(self) -> Leases:
        """Return who makes an artefact, or did until it died."""
        found: Leases = {}
        for name in _names(self.root / "partial"):
            found.update(_leases(self.root / "partial" / name))
        return found

    def half_made(self) -> list[Leftover]:
        """Return what has been begun, also by runs that are at it."""
        folders = [self.root / "partial" / name for name in sorted(_names(self.root / "partial"))]
        return [
            Leftover(
                folder.name,
                folder_bytes(folder),
                functools.partial(_leases, folder),
                functools.partial(_remove_half_made, folder),
            )
            for folder in folders
        ]

    def damaged(self) -> list[Leftover]:
        """Return what was set aside."""
        folders = [self.root / "damaged" / name for name in sorted(_names(self.root / "damaged"))]
        return [
            Leftover(folder.name, folder_bytes(folder), dict, functools.partial(shutil.rmtree, folder))
            for folder in folders
        ]


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder; those that vanish meanwhile don't count."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _leases(folder: Path) -> Leases:
    found = read_lease(folder / LEASE)
    return {} if found is None else {str(found[1].get("owner")): found}


def _remove_half_made(folder: Path) -> None:
    """Delete the folder under a lease of our own, so that nobody begins to work in it meanwhile."""
    lease = FileLease(folder)
    if not lease.take_over(set(_leases(folder))):
        return
    lease.stop()
    try:
        aside = folder.with_name(f".removed-{uuid.uuid4().hex[:8]}")
        folder.rename(aside)
        shutil.rmtree(aside)
    finally:
        lease.release()
