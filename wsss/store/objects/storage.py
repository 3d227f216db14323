"""A storage on an object storage, and a ledger of one object an entry."""

from __future__ import annotations

import contextlib
import functools
import re
import uuid
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path

from wsss.errors import PreflightError, Problem, StorageError
from wsss.files import read_copy, write_copy
from wsss.store.folder_storage import STUDY, Storage, study_text_of
from wsss.store.folder_store import Store
from wsss.store.lease import TIMEOUT, Lease
from wsss.store.ledger import Ledger
from wsss.store.objects.cache import cache_folder
from wsss.store.objects.client import Objects, older_layout
from wsss.store.objects.lease import ObjectLease
from wsss.store.objects.store import ObjectStore
from wsss.store.records import parse_entry


class ObjectStorage(Storage):
    """A storage on an object storage; `local` is this machine's cache of it."""

    def __init__(self, uri: str, *, cache: Path | None = None, lease_timeout: float = TIMEOUT) -> None:
        super().__init__(uri, cache or cache_folder(uri), lease_timeout=lease_timeout)
        self.objects = Objects(uri)

    @functools.cached_property
    def store(self) -> Store:
        return ObjectStore(self.objects, self.local, lease_timeout=self.lease_timeout)

    def check(self) -> None:
        super().check()
        name = f"probe-{uuid.uuid4().hex[:8]}"
        first, second = uuid.uuid4().bytes, uuid.uuid4().bytes
        try:
            created, again = self.objects.create(name, first), self.objects.create(name, second)
            read = self.objects.read(name)
            self.objects.delete(name)
        except StorageError as error:
            hint = "does the bucket exist, and are there keys (AWS_ACCESS_KEY_ID, a profile) that may write?"
            raise PreflightError([Problem(p.where, p.message, hint) for p in error.problems]) from error
        if created is None or read not in (first, second):
            raise PreflightError(Problem(self.objects.uri, "does not give back what was written"))
        if again is not None:
            message = "lets a second writer overwrite the first: it knows no conditional put (If-None-Match)"
            raise PreflightError(
                Problem(self.objects.uri, message, "take another object storage, or a folder")
            )

    def study_address(self, name: str) -> str:
        return self.objects.address(f"studies/{name}")

    def ledger(self, name: str) -> Ledger:
        return ObjectLedger(self.objects, name, self.study_folder(name))

    def study_text(self, name: str) -> str | None:
        content = self.objects.read(f"studies/{name}/{STUDY}")
        return None if content is None else study_text_of(content, f"{self.study_address(name)}/{STUDY}")

    def note(self, name: str, file: str) -> bytes | None:
        return self.objects.read(f"studies/{name}/{file}")

    def write_note(self, name: str, file: str, text: str) -> None:
        self.objects.write(f"studies/{name}/{file}", text.encode())

    def lease(self, name: str, about: Mapping[str, str]) -> Lease:
        return ObjectLease(self.objects, f"studies/{name}", about=about, timeout=self.lease_timeout)

    def study_names(self) -> list[str]:
        return [
            name
            for name in self.objects.folders("studies")
            if any(one.name.endswith((STUDY, ".json")) for one in self.objects.below(f"studies/{name}"))
        ]


class ObjectLedger(Ledger):
    """A ledger as one object an entry, in the order of their names; copies are kept in `cache`."""

    def __init__(self, objects: Objects, study: str, cache: Path) -> None:
        super().__init__(cache)
        self._objects = objects
        self._place = f"studies/{study}/ledger"
        self._cache = cache / "ledger"
        self._last: int | None = None

    def _versions(self) -> dict[str, str]:
        """Return the version of every entry's object by its name, oldest first."""
        versions = {one.name.rpartition("/")[2]: one.version for one in self._objects.below(self._place)}
        if any(not re.fullmatch(r"\d{8,}\.json", name) for name in versions):
            raise older_layout(self._objects)
        return versions

    def _write(self, line: str) -> None:
        if self._last is None:
            self._last = max((int(name.partition(".")[0]) for name in self._versions()), default=0)
        while True:  # a number belongs to the driver that creates its object
            self._last += 1
            if self._objects.create(f"{self._place}/{self._last:08d}.json", line.encode()) is not None:
                return

    def exists(self) -> bool:
        return bool(self._versions())

    def stamp(self) -> Hashable:
        return tuple(self._versions().items())

    def _lines(self) -> Iterator[tuple[str, bytes]]:
        versions = self._versions()
        lines = self._objects.map(lambda name: self._line(name, versions[name]), versions)
        return zip(versions, lines, strict=True)

    def _line(self, name: str, version: str) -> bytes:
        """Return an entry, from this machine's copy if that is of the version in the storage: a ledger that
        was deleted and begun anew has the same names."""
        copied, _, line = (read_copy(self._cache / name) or b"").partition(b"\n")
        if copied != version.encode():
            found = self._objects.get(f"{self._place}/{name}")
            line = found.bytes if found else b""
            with contextlib.suppress(OSError, ValueError):  # what can't be read may be mended
                parse_entry(line)
                write_copy(self._cache / name, (found.version if found else "").encode() + b"\n" + line)
        return line + b"\n"

    def _name(self) -> str:
        return self._objects.address(self._place)
