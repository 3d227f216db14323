"""What may be left to delete in an object storage, and of copying from it."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Collection
from pathlib import Path

import psutil

from wsss.store.lease import Leases
from wsss.store.leftovers import PARTIAL as HERE
from wsss.store.leftovers import Leftover, folder_bytes
from wsss.store.objects.client import Object, Objects
from wsss.store.objects.entries import STORE, Entries
from wsss.store.objects.lease import PARTIAL, ObjectLease, leases_among

INCOMING = "incoming"
"""Folder of this machine for copies that are not whole yet."""


def half_made_objects(objects: Objects, root: Path, here: Collection[Leftover]) -> list[Leftover]:
    """Return what has been begun, in the storage and on this machine.

    Args:
        objects: the storage.
        root: this machine's folder.
        here: what has been begun there.
    """
    groups: dict[str, list[Object]] = {}
    for one in objects.below(PARTIAL):
        groups.setdefault(one.name.split("/")[2], []).append(one)
    own = {one.name: one for one in here}
    # The lease on what is worked on in a key's folder here is an object; other folders have files.
    keys = sorted(groups.keys() | {name for name in own if "-" not in name})
    shared = []
    for key in keys:
        files = groups.get(key, [])
        size = sum(one.bytes for one in files) + (own[key].bytes if key in own else 0)
        dead = tuple(leases_among(objects, files))
        remove = functools.partial(_remove_half_made, objects, root, key, dead)
        shared.append(Leftover(key, size, functools.partial(_leases_of, objects, key), remove))
    return [*shared, *(one for name, one in own.items() if name not in keys)]


def _leases_of(objects: Objects, key: str) -> Leases:
    return leases_among(objects, objects.below(f"{PARTIAL}/{key}"))


def _remove_half_made(objects: Objects, root: Path, key: str, dead: Collection[str]) -> None:
    """Delete what is half made of a key, there and here, unless a run other than the dead is at it."""
    lease = ObjectLease(objects, f"{PARTIAL}/{key}")
    if lease.take_over(set(dead)):
        try:
            names = [one.name for one in objects.below(f"{PARTIAL}/{key}")]
            objects.delete(*(name for name in names if name != lease.name))
            shutil.rmtree(root / HERE / key, ignore_errors=True)
        finally:
            lease.release()


def unnamed_files(objects: Objects, entries: Entries) -> list[Leftover]:
    """Return the files that no entry names: what was set aside, evicted by half, or uploaded in vain.

    Those of a key that a run works on are left out: it may be about to name them.
    """
    listed = objects.below(STORE)
    # Looked at afterwards: a run that has uploaded by now either works still or has written its entry.
    at_work = {one.name.split("/")[2] for one in objects.below(PARTIAL)}
    attempts: dict[tuple[str, str], list[Object]] = {}
    for one in listed:
        parts = one.name.split("/", 4)
        if len(parts) == 5 and len(parts[1]) == 2 and parts[2] not in at_work:
            attempts.setdefault((parts[2], parts[3]), []).append(one)
    found = []
    for (key, attempt), files in sorted(attempts.items()):
        entry = entries.get(key, fresh=True)
        if entry is None or entry.attempt != attempt or entry.state != "whole":
            remove = functools.partial(objects.delete, *(one.name for one in files))
            found.append(Leftover(f"{key}-{attempt}", sum(one.bytes for one in files), dict, remove))
    return found


def unfinished_copies(root: Path) -> list[Leftover]:
    """Return what dead processes of this machine have left of copying."""
    return [
        Leftover(folder.name, folder_bytes(folder), dict, functools.partial(shutil.rmtree, folder))
        for folder in sorted(root.glob(f"{INCOMING}/*-*"))
        if not _runs(folder.name.partition("-")[0])
    ]


def _runs(pid: str) -> bool:
    return pid.isdigit() and psutil.pid_exists(int(pid))
