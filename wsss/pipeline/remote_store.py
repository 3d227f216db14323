"""The artefact store on an object storage, with copies of what is used on this machine.

    <uri>/store/<key[:2]>/<key>/<writer>/…               the files of one writer, artefact.json last
    <uri>/store/<key[:2]>/<key>/<writer>/evicted         the files were deleted to save space
    <uri>/store/<key[:2]>/<key>/<writer>/damaged         set aside: a file was missing or had changed
    <uri>/store/partial/<key>/                           see `wsss.pipeline.remote_partial`

There is no rename: each writer has a folder of its own, named by the time of the commit, and readers
take the first whole one. So that they agree on which is first without a compare-and-swap:

- a writer whose files are up, but not its record, gives way to anybody's whole version;
- else it writes its record, and among whole versions the smallest name wins. Nobody takes a version
  while a writer of a smaller name has files and no record yet: that one may still finish;
- a writer that has left no new file for the length of a lease is taken for dead. Should it wake and
  write its record nevertheless, its files are gone, and readers set it aside as damaged.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss.errors import Problem, StorageError
from wsss.files import read_copy, with_checksum, write_copy, write_json, writing
from wsss.pipeline.cache import Cache, cache_limit
from wsss.pipeline.lease import TIMEOUT
from wsss.pipeline.objects import Object, Objects
from wsss.pipeline.records import parse_record, say_once
from wsss.pipeline.remote_partial import PARTIAL, RemoteLease, RemotePartial, leases_among
from wsss.pipeline.store import EVICTED, RECORD, Artefact, Leases, Leftover, Store

STORE = "store"
DAMAGED = "damaged"
REMEMBER_SECONDS = 30.0
"""How long it is believed that a finished artefact is still there; what is missing is always looked up."""
SETTLE_SECONDS = 0.05
"""Between two looks at whether a writer who began earlier has finished."""
BATCH = 256


@dataclass(frozen=True)
class Version:
    """What one writer has left of an artefact: name → bytes."""

    writer: str
    files: Mapping[str, int]
    newest: int
    """When its last object was written, by the storage's clock, in ns."""

    @property
    def begun(self) -> bool:
        return not self.files.keys() & {RECORD, DAMAGED, EVICTED}

    @property
    def whole(self) -> bool:
        return RECORD in self.files and DAMAGED not in self.files

    @property
    def evicted(self) -> bool:
        return EVICTED in self.files

    @property
    def left(self) -> dict[str, int]:
        """Return what an eviction deletes, or was about to."""
        return {name: count for name, count in self.files.items() if name not in (RECORD, EVICTED)}


class RemoteStore(Store):
    """Artefacts by key on an object storage. Folders of artefacts are copies below `cache`."""

    def __init__(
        self, objects: Objects, cache: Path, *, lease_timeout: float = TIMEOUT, limit: int | None = None
    ) -> None:
        super().__init__(cache / STORE, lease_timeout=lease_timeout)
        self.objects = objects
        self.local = Store(cache / STORE)
        self.local.remedy = "it is copied again"
        self.cache = Cache(self.local, cache_limit() if limit is None else limit)
        self._notes = cache / "records"
        self._listed: dict[str, tuple[float, list[Version]]] = {}

    def known(self, key: str) -> Artefact | None:
        """Return the artefact if it was ever finished; its folder may be empty until `get`."""
        for version in self._versions(key):
            record = self._record(key, version.writer)
            if record is not None:
                return Artefact(key, self.folder(key), record, gone=version.evicted)
        return None

    def has(self, key: str) -> bool:
        """Tell whether all files are in the storage, by their names and sizes; nothing is copied."""
        return self._whole(key) is not None

    def get(self, key: str, *, thorough: bool = False) -> Artefact | None:
        """Return the artefact with its files copied to this machine and their SHA-256 compared.

        One whose files are missing or damaged in the storage is set aside, and None returned.
        """
        while (found := self._whole(key)) is not None:
            version, record = found
            copy = self.local.known(key)
            if copy is None or copy.record["files"] != record["files"]:
                if copy is not None:
                    self.cache.drop(key)
            elif self.local.get(key, thorough=thorough) is not None:
                self.cache.touch(key)
                return Artefact(key, copy.folder, record, gone=False)
            if self._download(key, version, record):
                return Artefact(key, self.folder(key), record, gone=False)
        return None

    def _reject(self, key: str) -> None:
        """Delete a copy a file of which was just seen to have changed: it is made anew."""
        self.cache.drop(key)

    def set_aside(self, key: str) -> None:
        """Mark what readers take as damaged, so that it is made again; nothing is deleted."""
        for version in self._versions(key)[:1]:
            self.objects.write(f"{_place(key)}/{version.writer}/{DAMAGED}", b"")
        self._listed.pop(key, None)
        self.cache.drop(key)

    def partial(self, key: str, *, inputs: Sequence[str] = ()) -> RemotePartial:
        return RemotePartial(self.objects, self.root, key, inputs=inputs, timeout=self.lease_timeout)

    def using(self, keys: Sequence[str]) -> contextlib.AbstractContextManager[None]:
        return self.cache.using(keys)

    def commit(self, key: str, folder: Path, record: Mapping[str, Any]) -> Artefact:
        """Upload a folder of finished files, its record last; the first whole one wins."""
        with writing(folder):
            whole = self._describe(key, folder, record)
        if self._whole(key, fresh=True) is None:
            writer = f"{time.time_ns():016x}-{uuid.uuid4().hex[:8]}"
            place = f"{_place(key)}/{writer}"
            self.objects.upload_all(folder, whole["files"], place)
            finished = not any(one.whole and not one.evicted for one in self._list(key))
            if finished:
                self.objects.upload(folder / RECORD, f"{place}/{RECORD}")
                self._settle(key)
            found = self._whole(key, fresh=True) if finished else None
            if found is not None and found[0].writer == writer:
                with writing(self.folder(key)):
                    if self.local.known(key) is not None:
                        self.cache.drop(key)
                    self.local._take(key, folder)
                    self.cache.touch(key)
                self.cache.added(sum(int(facts["bytes"]) for facts in whole["files"].values()))
            elif found is not None or not finished:  # another writer's is the first
                self.objects.delete(f"{place}/{RECORD}")
                self.objects.delete(*(f"{place}/{name}" for name in whole["files"]))
                self._settle(key)
        shutil.rmtree(folder, ignore_errors=True)
        artefact = self.get(key)
        if artefact is None:
            where = self.objects.address(_place(key))
            raise StorageError(Problem(where, "was uploaded, but is not there whole", "`resume` tries again"))
        return artefact

    def evict(self, key: str) -> int:
        """Delete the files of every writer, keep the records; return the bytes freed. Those that an eviction
        which was cut short has left go too."""
        freed = 0
        for version in self._versions(key, fresh=True):
            if version.evicted and not version.left:
                continue
            place = f"{_place(key)}/{version.writer}"
            if not version.evicted:
                self.objects.write(f"{place}/{EVICTED}", b"")
            self.objects.delete(*(f"{place}/{name}" for name in version.left))
            freed += sum(version.left.values())
        self._listed.pop(key, None)
        self.cache.drop(key)
        return freed

    def left(self, key: str) -> int | None:
        left = [version.left for version in self._versions(key) if version.left]
        return sum(sum(files.values()) for files in left) if left else None

    def __iter__(self) -> Iterator[Artefact]:
        """Iterate over all finished artefacts, evicted ones too, in the order of their keys."""
        keys = iter(self.keys())
        while batch := list(itertools.islice(keys, BATCH)):
            yield from filter(None, self.objects.map(self.known, batch))

    def keys(self) -> list[str]:
        """Return the keys of all artefacts, from one listing."""
        found: dict[str, list[Object]] = {}
        for one in self.objects.below(STORE):
            parts = one.name.split("/")
            if len(parts) > 3 and len(parts[1]) == 2:
                found.setdefault(parts[2], []).append(one)
        now = time.monotonic()
        self._listed = {key: (now, _group(key, them)) for key, them in found.items()}
        return sorted(key for key, (_, them) in self._listed.items() if any(one.whole for one in them))

    def leases(self) -> Leases:
        return leases_among(self.objects, self.objects.below(PARTIAL))

    def half_made(self) -> list[Leftover]:
        groups: dict[str, list[Object]] = {}
        for one in self.objects.below(PARTIAL):
            groups.setdefault(one.name.split("/")[2], []).append(one)
        remote = [
            Leftover(
                key,
                sum(one.bytes for one in them),
                functools.partial(self._leases_of, key),
                functools.partial(self._remove_half_made, key),
            )
            for key, them in sorted(groups.items())
        ]
        return [*remote, *self.local.half_made()]

    def damaged(self) -> list[Leftover]:
        self.keys()
        remote = [
            Leftover(
                key,
                sum(version.files.values()),
                dict,
                functools.partial(self._delete, f"{_place(key)}/{version.writer}", version),
            )
            for key, (_, versions) in sorted(self._listed.items())
            for version in versions
            if DAMAGED in version.files
        ]
        return [*remote, *self.local.damaged()]

    def _delete(self, place: str, version: Version) -> None:
        last = [name for name in (RECORD, DAMAGED) if name in version.files]
        self.objects.delete(*(f"{place}/{name}" for name in version.files if name not in last))
        for name in last:  # without its record it is nothing; the mark goes after it
            self.objects.delete(f"{place}/{name}")

    def _leases_of(self, key: str) -> Leases:
        return leases_among(self.objects, self.objects.below(f"{PARTIAL}/{key}/lease"))

    def _remove_half_made(self, key: str) -> None:
        lease = RemoteLease(self.objects, f"{PARTIAL}/{key}")
        if lease.take_over(set(self._leases_of(key))):
            try:
                names = [one.name for one in self.objects.below(f"{PARTIAL}/{key}")]
                self.objects.delete(*(name for name in names if not name.endswith(lease.owner)))
            finally:
                lease.release()

    def _list(self, key: str) -> list[Version]:
        return _group(key, self.objects.below(_place(key)))

    def _versions(self, key: str, *, fresh: bool = False) -> list[Version]:
        """Return the whole versions, those with files before evicted ones, the first writer first.

        None, while it isn't settled which is the first.
        """
        listed = self._listed.get(key)
        if fresh or listed is None or time.monotonic() - listed[0] > REMEMBER_SECONDS:
            listed = (time.monotonic(), self._list(key))
            if any(version.whole and not version.evicted for version in listed[1]):
                self._listed[key] = listed
            else:
                self._listed.pop(key, None)
        if self._unsettled(listed[1]):
            self._listed.pop(key, None)
            return []
        whole = [
            one for one in listed[1] if one.whole and f"{_place(key)}/{one.writer}" not in self._unusable
        ]
        return sorted(whole, key=lambda version: (version.evicted, version.writer))

    def _unsettled(self, versions: Sequence[Version]) -> list[Version]:
        """Return the writers who may yet come before the first whole version."""
        first = next((one for one in versions if one.whole and not one.evicted), None)
        if first is None:
            return []
        alive = first.newest - int(self.lease_timeout * 1e9)
        return [one for one in versions if one.begun and one.writer < first.writer and one.newest >= alive]

    def _settle(self, key: str) -> None:
        """Wait until nobody may come before the first whole version; delete what the dead have left."""
        changed: dict[tuple[str, int], float] = {}
        while waited_for := self._unsettled(self._list(key)):
            now = time.monotonic()
            for one in waited_for:
                if now - changed.setdefault((one.writer, len(one.files)), now) > self.lease_timeout:
                    self.objects.delete(*(f"{_place(key)}/{one.writer}/{name}" for name in one.files))
            time.sleep(SETTLE_SECONDS)
        self._listed.pop(key, None)

    def _record(self, key: str, writer: str) -> dict[str, Any] | None:
        """Return a version's record, which never changes, from this machine's notes or the storage."""
        note = self._notes / key / f"{writer}.json"
        content = read_copy(note)
        noted = content is not None
        if content is None:
            content = self.objects.read(f"{_place(key)}/{writer}/{RECORD}")
        if content is None:
            return None
        try:
            record = parse_record(content, key)
        except ValueError as error:
            where = self.objects.address(f"{_place(key)}/{writer}/{RECORD}")
            say_once(where, f"is damaged ({error}): {self.remedy}")
            return None
        if not noted:
            with contextlib.suppress(OSError):  # a full disk is no reason not to know
                write_copy(note, content)
        return record

    def _whole(self, key: str, *, fresh: bool = False) -> tuple[Version, dict[str, Any]] | None:
        """Return what readers take, set aside what names and sizes show to be damaged."""
        for version in self._versions(key, fresh=fresh):
            if version.evicted:
                return None
            record = self._record(key, version.writer)
            described = {name: facts["bytes"] for name, facts in (record or {}).get("files", {}).items()}
            if record and all(version.files.get(name) == count for name, count in described.items()):
                return version, record
            if not fresh:  # it may have been evicted since it was listed
                return self._whole(key, fresh=True)
            self._mark_damaged(key, version)
        return None

    def _mark_damaged(self, key: str, version: Version) -> None:
        where = f"{_place(key)}/{version.writer}"
        say_once(self.objects.address(where), f"is damaged and set aside: {self.remedy}")
        try:
            self.objects.write(f"{where}/{DAMAGED}", b"")
        except StorageError:  # it can only be read
            self._unusable.add(where)
        self._listed.pop(key, None)

    def _download(self, key: str, version: Version, record: dict[str, Any]) -> bool:
        """Copy a version to this machine. False: it is gone, or was damaged and is set aside."""
        aside = self.root / "incoming" / uuid.uuid4().hex
        place = f"{_place(key)}/{version.writer}"
        try:
            with writing(aside):
                for _ in range(2):  # what arrived broken may be whole in the storage

                    def fetch(name: str) -> bool:
                        digest = self.objects.download(f"{place}/{name}", aside / name)
                        return bool(digest == record["files"][name]["sha256"])

                    if all(self.objects.map(fetch, record["files"])):
                        break
                else:
                    self._mark_damaged(key, version)
                    return False
                write_json(aside / RECORD, with_checksum(record))
                self.local._take(key, aside)
        except FileNotFoundError:  # evicted while it was copied
            self._listed.pop(key, None)
            return False
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        self.local._verified.add(key)
        self.cache.touch(key)
        self.cache.added(sum(int(facts["bytes"]) for facts in record["files"].values()))
        return True


def _place(key: str) -> str:
    return f"{STORE}/{key[:2]}/{key}"


def _group(key: str, objects: Sequence[Object]) -> list[Version]:
    """Return what each writer has left, in the order of their names."""
    writers: dict[str, dict[str, Object]] = {}
    cut = len(_place(key)) + 1
    for one in objects:
        writer, _, name = one.name[cut:].partition("/")
        if name:
            writers.setdefault(writer, {})[name] = one
    return [
        Version(
            writer,
            {name: one.bytes for name, one in them.items()},
            max(one.modified for one in them.values()),
        )
        for writer, them in sorted(writers.items())
    ]
