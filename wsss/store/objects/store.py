"""The artefact store on an object storage, with copies of what is used on this machine.

    <uri>/store/<key[:2]>/<key>/artefact.json            the entry: which attempt counts, and its record
    <uri>/store/<key[:2]>/<key>/<attempt>/…              the files of one attempt to make it

The entry decides everything, and the storage decides who writes it: the first writer creates it with a
conditional put, later changes (evicted, damaged, made again) replace the version that was read. Nobody
reads files that no entry names.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import shutil
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from wsss.errors import Problem, StorageError
from wsss.files import (
    read_copy,
    with_checksum,
    write_copy,
    write_json,
    writing,
)
from wsss.store.artefact import RECORD, Artefact
from wsss.store.folder_store import Store
from wsss.store.lease import TIMEOUT
from wsss.store.leftovers import Leases, Leftover, folder_bytes
from wsss.store.objects.cache import Cache, cache_limit
from wsss.store.objects.client import Object, Objects, older_layout
from wsss.store.objects.entry import Entry, State, parse_entry_object
from wsss.store.objects.partial import PARTIAL, ObjectLease, ObjectPartial, leases_among
from wsss.store.records import say_once

STORE = "store"
INCOMING = "incoming"
REMEMBER_SECONDS = 30.0
"""How long it is believed that a finished artefact is still there; what is missing is always looked up."""
BATCH = 256


class ObjectStore(Store):
    """Artefacts by key on an object storage. Folders of artefacts are copies below `cache`.

    Args:
        objects: the storage.
        cache: this machine's folder for copies.
        lease_timeout: seconds without a sign of life after which another run takes over.
        limit: most bytes of copies; None means WSSS_CACHE_GIB.
    """

    def __init__(
        self, objects: Objects, cache: Path, *, lease_timeout: float = TIMEOUT, limit: int | None = None
    ) -> None:
        super().__init__(cache / STORE, lease_timeout=lease_timeout)
        self.objects = objects
        self.local = Store(cache / STORE)
        self.local.remedy = "it is copied again"
        self.cache = Cache(self.local, cache_limit() if limit is None else limit)
        self._notes = cache / "records"
        self._seen: dict[str, tuple[float, Entry]] = {}
        self._listed: dict[str, tuple[float, str]] = {}
        self._complete: dict[str, tuple[float, str]] = {}
        self._attempts: dict[str, dict[str, int]] = {}
        """Key → attempt → bytes of its files, as they were listed last."""

    def known(self, key: str) -> Artefact | None:
        """Return the artefact if it was ever finished; its folder may be empty until `get`."""
        entry = self._entry(key)
        if entry is None or entry.state == "damaged":
            return None
        return Artefact(key, self.folder(key), entry.record, gone=entry.state == "evicted")

    def has(self, key: str) -> bool:
        """Tell whether all files are in the storage, by their names and sizes; nothing is copied."""
        return self._whole(key) is not None

    def get(self, key: str, *, thorough: bool = False) -> Artefact | None:
        """Return the artefact with its files copied to this machine and their SHA-256 compared.

        One whose files are missing or damaged in the storage is set aside, and None returned.
        """
        while (entry := self._whole(key)) is not None:
            copy = self.local.known(key)
            if copy is None or copy.record["files"] != entry.record["files"]:
                if copy is not None:
                    self.cache.drop(key)
            elif self.local.get(key, thorough=thorough) is not None:
                self.cache.touch(key)
                return Artefact(key, copy.folder, entry.record, gone=False)
            if self._download(key, entry):
                return Artefact(key, self.folder(key), entry.record, gone=False)
        return None

    def _reject(self, key: str) -> None:
        """Delete a copy a file of which was just seen to have changed: it is made anew."""
        self.cache.drop(key)

    def set_aside(self, key: str) -> None:
        """Mark the artefact as damaged, so that it is made again; no file is deleted."""
        entry = self._entry(key, fresh=True)
        if entry is not None and entry.state != "damaged":
            self._turn(key, entry, "damaged")
        self.cache.drop(key)

    def _set_aside(self, key: str, entry: Entry) -> None:
        """Mark as damaged what was just seen to be so; one that can't be marked counts as missing here."""
        say_once(self.objects.address(_place(key)), f"is damaged and set aside: {self.remedy}")
        try:
            self._turn(key, entry, "damaged")
        except StorageError:  # it can only be read
            self._unusable.add(key)

    def partial(self, key: str, *, inputs: Sequence[str] = ()) -> ObjectPartial:
        return ObjectPartial(self.objects, self.root, key, inputs=inputs, timeout=self.lease_timeout)

    def using(self, keys: Sequence[str]) -> contextlib.AbstractContextManager[None]:
        return self.cache.using(keys)

    def commit(self, key: str, folder: Path, record: Mapping[str, Any]) -> Artefact:
        """Upload a folder of finished files, then its entry; the first entry wins."""
        with writing(folder):
            mine = Entry("whole", uuid.uuid4().hex, self._describe(key, folder, record))
        place = f"{_place(key)}/{mine.attempt}"
        uploaded = False
        while True:
            entry = self._entry(key, fresh=True)
            if entry is not None and entry.state == "whole" and key not in self._unusable:
                if self._whole(key, fresh=True) is None:
                    continue  # evicted or damaged since: look again
                break
            if not uploaded:
                self.objects.upload_all(folder, mine.record["files"], place)
                uploaded = True
            if self._write(key, mine, over=entry):
                self._unusable.discard(key)
                return self._adopt(key, folder, mine)
        if uploaded:
            self.objects.delete(*(f"{place}/{name}" for name in mine.record["files"]))
        shutil.rmtree(folder, ignore_errors=True)
        artefact = self.get(key) or self.known(key)  # it may have been evicted by now
        if artefact is None:
            where = self.objects.address(_place(key))
            raise StorageError(Problem(where, "was there, and is gone again", "`resume` tries again"))
        return artefact

    def _adopt(self, key: str, folder: Path, mine: Entry) -> Artefact:
        """Keep what was just uploaded as this machine's copy."""
        with writing(self.folder(key)):
            if self.local.known(key) is not None:
                self.cache.drop(key)
            self.local._take(key, folder)
            self.cache.touch(key)
        artefact = Artefact(key, self.folder(key), mine.record, gone=False)
        self.cache.added(artefact.bytes)
        return artefact

    def evict(self, key: str) -> int:
        """Delete an artefact's files, keep its record; return the bytes freed. What an eviction that was
        killed has left goes too."""
        entry = self._entry(key, fresh=True)
        if entry is None or entry.state == "damaged":
            return 0
        if entry.state == "whole" and not self._turn(key, entry, "evicted"):
            return 0  # it has just been made again
        files = self.objects.below(f"{_place(key)}/{entry.attempt}")
        self.objects.delete(*(one.name for one in files))
        self.cache.drop(key)
        return sum(one.bytes for one in files)

    def left(self, key: str) -> int | None:
        """Return the bytes of files that an artefact has: none, when it was evicted or never finished, and
        some, when an eviction was cut short. As the storage was when its keys were listed last."""
        artefact, entry = self.known(key), self._entry(key)
        if artefact is None or entry is None:
            return None
        if not artefact.evicted:
            return artefact.bytes
        attempts = self._attempts.get(key)
        if attempts is None:
            return sum(one.bytes for one in self.objects.below(f"{_place(key)}/{entry.attempt}")) or None
        return attempts.get(entry.attempt)

    def __iter__(self) -> Iterator[Artefact]:
        """Iterate over all finished artefacts, evicted ones too, in the order of their keys."""
        keys = iter(self.keys())
        while batch := list(itertools.islice(keys, BATCH)):
            yield from filter(None, self.objects.map(self.known, batch))

    def keys(self) -> list[str]:
        """Return the keys of all entries, from one listing."""
        now = time.monotonic()
        self._listed, self._attempts = {}, {}
        for one in self.objects.below(STORE):
            parts = one.name.split("/")
            if len(parts) < 4 or len(parts[1]) != 2:
                continue
            attempts = self._attempts.setdefault(parts[2], {})
            if len(parts) == 4 and parts[3] == RECORD:
                self._listed[parts[2]] = (now, one.version)
            elif len(parts) == 5 and parts[4] == RECORD:
                raise older_layout(self.objects)
            elif len(parts) > 4:
                attempts[parts[3]] = attempts.get(parts[3], 0) + one.bytes
        return sorted(self._listed)

    def leases(self) -> Leases:
        return leases_among(self.objects, self.objects.below(PARTIAL))

    def half_made(self) -> list[Leftover]:
        groups: dict[str, list[Object]] = {}
        for one in self.objects.below(PARTIAL):
            groups.setdefault(one.name.split("/")[2], []).append(one)
        here = {one.name: one for one in self.local.half_made()}
        # The lease on what is worked on in a key's folder here is an object; other folders have files.
        keys = sorted(groups.keys() | {name for name in here if "-" not in name})
        shared = [
            Leftover(
                key,
                sum(one.bytes for one in groups.get(key, ())) + (here[key].bytes if key in here else 0),
                functools.partial(self._leases_of, key),
                functools.partial(
                    self._remove_half_made, key, tuple(leases_among(self.objects, groups.get(key, ())))
                ),
            )
            for key in keys
        ]
        return [*shared, *(one for name, one in here.items() if name not in keys)]

    def damaged(self) -> list[Leftover]:
        """Return the files that no entry names: what was set aside, evicted by half, or uploaded in vain.
        Those of a key that a run works on are left out: it may be about to name them."""
        listed = self.objects.below(STORE)
        # Looked at afterwards: a run that has uploaded by now either works still or has written its entry.
        at_work = {one.name.split("/")[2] for one in self.objects.below(PARTIAL)}
        attempts: dict[tuple[str, str], list[Object]] = {}
        for one in listed:
            parts = one.name.split("/", 4)
            if len(parts) == 5 and len(parts[1]) == 2 and parts[2] not in at_work:
                attempts.setdefault((parts[2], parts[3]), []).append(one)
        remote = []
        for (key, attempt), files in sorted(attempts.items()):
            entry = self._entry(key, fresh=True)
            if entry is None or entry.attempt != attempt or entry.state != "whole":
                remove = functools.partial(self.objects.delete, *(one.name for one in files))
                remote.append(Leftover(f"{key}-{attempt}", sum(one.bytes for one in files), dict, remove))
        return [*remote, *self._unfinished_copies(), *self.local.damaged()]

    def _unfinished_copies(self) -> list[Leftover]:
        """Return what dead processes of this machine have left of copying."""
        return [
            Leftover(folder.name, folder_bytes(folder), dict, functools.partial(shutil.rmtree, folder))
            for folder in sorted(self.root.glob(f"{INCOMING}/*-*"))
            if not _runs(folder.name.partition("-")[0])
        ]

    def _leases_of(self, key: str) -> Leases:
        return leases_among(self.objects, self.objects.below(f"{PARTIAL}/{key}"))

    def _remove_half_made(self, key: str, dead: Collection[str]) -> None:
        """Delete what is half made of a key, there and here, unless a run other than the dead is at it."""
        lease = ObjectLease(self.objects, f"{PARTIAL}/{key}")
        if lease.take_over(set(dead)):
            try:
                names = [one.name for one in self.objects.below(f"{PARTIAL}/{key}")]
                self.objects.delete(*(name for name in names if name != lease.name))
                shutil.rmtree(self.root / "partial" / key, ignore_errors=True)
            finally:
                lease.release()

    def _entry(self, key: str, *, fresh: bool = False) -> Entry | None:
        """Return what the storage says of a key; a whole one is remembered for a while."""
        now = time.monotonic()
        seen = self._seen.get(key)
        if not fresh and seen is not None and now - seen[0] <= REMEMBER_SECONDS:
            return seen[1]
        listed = self._listed.pop(key, None)
        if not fresh and listed is not None and now - listed[0] <= REMEMBER_SECONDS:
            entry = self._noted(key, listed[1])
            if entry is not None:
                return self._remember(key, entry)
        name = f"{_place(key)}/{RECORD}"
        found = self.objects.get(name)
        if found is None:
            self._seen.pop(key, None)
            return None
        try:
            entry = parse_entry_object(found.bytes, key, found.version)
        except ValueError as error:
            say_once(self.objects.address(name), f"is damaged ({error}): {self.remedy}")
            return self._remember(key, Entry("damaged", "", {"files": {}}, found.version))
        with contextlib.suppress(OSError):  # a full disk is no reason not to know
            write_copy(self._note(key), found.version.encode() + b"\n" + found.bytes)
        return self._remember(key, entry)

    def _remember(self, key: str, entry: Entry) -> Entry:
        self._seen[key] = (time.monotonic(), entry)
        return entry

    def _note(self, key: str) -> Path:
        return self._notes / key[:2] / f"{key}.json"

    def _noted(self, key: str, version: str) -> Entry | None:
        """Return an entry from this machine's notes, if it is of this version."""
        first, _, content = (read_copy(self._note(key)) or b"").partition(b"\n")
        with contextlib.suppress(ValueError):
            return parse_entry_object(content, key, version) if first == version.encode() else None
        return None

    def _write(self, key: str, entry: Entry, *, over: Entry | None) -> bool:
        """Write an entry where there is none, or over the one that was read; False if another was quicker."""
        name = f"{_place(key)}/{RECORD}"
        self._forget(key)
        if over is None or not over.version:
            return self.objects.create(name, entry.content()) is not None
        return self.objects.replace(name, entry.content(), over.version) is not None

    def _turn(self, key: str, entry: Entry, state: State) -> bool:
        """Change an entry's state; False if another process changed it since it was read."""
        self._forget(key)
        name = f"{_place(key)}/{RECORD}"
        return self.objects.replace(name, entry.content(state), entry.version) is not None

    def _forget(self, key: str) -> None:
        for memory in (self._seen, self._listed, self._complete, self._attempts):
            memory.pop(key, None)

    def _whole(self, key: str, *, fresh: bool = False) -> Entry | None:
        """Return the entry of an artefact all of whose files are there, by names and sizes; one that lacks
        some is set aside."""
        entry = self._entry(key, fresh=fresh)
        if entry is None or entry.state != "whole" or key in self._unusable:
            return None
        seen, now = self._complete.get(key), time.monotonic()
        if not fresh and seen and seen[1] == entry.version and now - seen[0] <= REMEMBER_SECONDS:
            return entry
        place = f"{_place(key)}/{entry.attempt}/"
        there = {one.name.removeprefix(place): one.bytes for one in self.objects.below(place.rstrip("/"))}
        if all(there.get(name) == facts["bytes"] for name, facts in entry.record["files"].items()):
            self._complete[key] = (now, entry.version)
            return entry
        if not fresh:  # it may have been evicted since
            return self._whole(key, fresh=True)
        self._set_aside(key, entry)
        return None

    def _download(self, key: str, entry: Entry) -> bool:
        """Copy an artefact to this machine. False: it is gone, or was damaged and is set aside."""
        aside = self.root / INCOMING / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        place = f"{_place(key)}/{entry.attempt}"
        files = entry.record["files"]
        try:
            with writing(aside):
                for _ in range(2):  # what arrived broken may be whole in the storage

                    def fetch(name: str) -> bool:
                        return bool(
                            self.objects.download(f"{place}/{name}", aside / name) == files[name]["sha256"]
                        )

                    if all(self.objects.map(fetch, files)):
                        break
                else:
                    self._set_aside(key, entry)
                    return False
                write_json(aside / RECORD, with_checksum(entry.record))
                self.local._take(key, aside)
        except FileNotFoundError:  # evicted while it was copied
            self._forget(key)
            return False
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        self.local._verified.add(key)
        self.cache.touch(key)
        self.cache.added(sum(int(facts["bytes"]) for facts in files.values()))
        return True


def _runs(pid: str) -> bool:
    return pid.isdigit() and psutil.pid_exists(int(pid))


def _place(key: str) -> str:
    return f"{STORE}/{key[:2]}/{key}"
