"""The artefact store on an object storage, with copies of what is used on this machine.

    <uri>/store/<key[:2]>/<key>/artefact.json            the entry: which attempt counts, and its record
    <uri>/store/<key[:2]>/<key>/<attempt>/…              the files of one attempt to make it

The entry decides everything, and the storage decides who writes it: the first writer creates it with a
conditional put, later changes (evicted, damaged, made again) replace the version that was read. Nobody
reads files that no entry names.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsss.errors import Problem, StorageError
from wsss.files import with_checksum, write_json, writing
from wsss.store.artefact import RECORD, Artefact
from wsss.store.folder_store import Store
from wsss.store.lease import TIMEOUT, Leases
from wsss.store.leftovers import Leftover
from wsss.store.objects.cache import Cache, cache_limit
from wsss.store.objects.client import Objects
from wsss.store.objects.entries import STORE, Entries, place_of
from wsss.store.objects.entry import Entry
from wsss.store.objects.lease import PARTIAL, leases_among
from wsss.store.objects.leftovers import INCOMING, half_made_objects, unfinished_copies, unnamed_files
from wsss.store.objects.partial import ObjectPartial
from wsss.store.records import say_once

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
        self.entries = Entries(objects, cache / "records", self.remedy)

    def known(self, key: str) -> Artefact | None:
        """Return the artefact if it was ever finished; its folder may be empty until `get`."""
        entry = self.entries.get(key)
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
        entry = self.entries.get(key, fresh=True)
        if entry is not None and entry.state != "damaged":
            self.entries.turn(key, entry, "damaged")
        self.cache.drop(key)

    def _set_aside(self, key: str, entry: Entry) -> None:
        """Mark as damaged what was just seen to be so; one that can't be marked counts as missing here."""
        say_once(self.objects.address(place_of(key)), f"is damaged and set aside: {self.remedy}")
        try:
            self.entries.turn(key, entry, "damaged")
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
        place = f"{place_of(key)}/{mine.attempt}"
        uploaded = False
        while True:
            entry = self.entries.get(key, fresh=True)
            if entry is not None and entry.state == "whole" and key not in self._unusable:
                if self._whole(key, fresh=True) is None:
                    continue  # evicted or damaged since: look again
                break
            if not uploaded:
                self.objects.upload_all(folder, mine.record["files"], place)
                uploaded = True
            if self.entries.write(key, mine, over=entry):
                self._unusable.discard(key)
                return self._adopt(key, folder, mine)
        if uploaded:
            self.objects.delete(*(f"{place}/{name}" for name in mine.record["files"]))
        shutil.rmtree(folder, ignore_errors=True)
        artefact = self.get(key) or self.known(key)  # it may have been evicted by now
        if artefact is None:
            where = self.objects.address(place_of(key))
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
        entry = self.entries.get(key, fresh=True)
        if entry is None or entry.state == "damaged":
            return 0
        if entry.state == "whole" and not self.entries.turn(key, entry, "evicted"):
            return 0  # it has just been made again
        files = self.objects.below(f"{place_of(key)}/{entry.attempt}")
        self.objects.delete(*(one.name for one in files))
        self.cache.drop(key)
        return sum(one.bytes for one in files)

    def left(self, key: str) -> int | None:
        """Return the bytes of files that an artefact has: none, when it was evicted or never finished, and
        some, when an eviction was cut short. As the storage was when its keys were listed last."""
        artefact, entry = self.known(key), self.entries.get(key)
        if artefact is None or entry is None:
            return None
        if not artefact.evicted:
            return artefact.bytes
        return self.entries.left(key, entry.attempt)

    def __iter__(self) -> Iterator[Artefact]:
        """Iterate over all finished artefacts, evicted ones too, in the order of their keys."""
        keys = iter(self.keys())
        while batch := list(itertools.islice(keys, BATCH)):
            yield from filter(None, self.objects.map(self.known, batch))

    def keys(self) -> list[str]:
        """Return the keys of all entries, from one listing."""
        return self.entries.keys()

    def leases(self) -> Leases:
        return leases_among(self.objects, self.objects.below(PARTIAL))

    def drop_copies(self, *, dry_run: bool) -> int:
        before = sum(artefact.bytes for artefact in self.local)
        return before - self.cache.trim(0, dry_run=dry_run)

    def half_made(self) -> list[Leftover]:
        return half_made_objects(self.objects, self.root, self.local.half_made())

    def damaged(self) -> list[Leftover]:
        """Return the files that no entry names, and what processes that died left of copying."""
        unnamed = unnamed_files(self.objects, self.entries)
        return [*unnamed, *unfinished_copies(self.root), *self.local.damaged()]

    def _whole(self, key: str, *, fresh: bool = False) -> Entry | None:
        """Return the entry of an artefact all of whose files are there, by names and sizes; one that lacks
        some is set aside."""
        entry = self.entries.get(key, fresh=fresh)
        if entry is None or entry.state != "whole" or key in self._unusable:
            return None
        if self.entries.is_complete(key, entry, fresh=fresh):
            return entry
        if not fresh:  # it may have been evicted since
            return self._whole(key, fresh=True)
        self._set_aside(key, entry)
        return None

    def _download(self, key: str, entry: Entry) -> bool:
        """Copy an artefact to this machine. False: it is gone, or was damaged and is set aside."""
        aside = self.root / INCOMING / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        place = f"{place_of(key)}/{entry.attempt}"
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
            self.entries.forget(key)
            return False
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        self.local._verified.add(key)
        self.cache.touch(key)
        self.cache.added(sum(int(facts["bytes"]) for facts in files.values()))
        return True
