"""Everything that studies leave at one place: artefacts, each study's file and its ledger.

In a folder:                                On an object storage:

    store/                                      <uri>/store/
    studies/<name>/study.yaml                   <uri>/studies/<name>/study.yaml
    studies/<name>/ledger.jsonl                 <uri>/studies/<name>/ledger/<number>.json
    studies/<name>/data.json                    <uri>/studies/<name>/data.json
    studies/<name>/lease                        <uri>/studies/<name>/lease
"""

from __future__ import annotations

import contextlib
import functools
import re
import uuid
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path

from wsss.config.location import Location
from wsss.data.inventory import Inventory, read_inventory
from wsss.errors import ConfigError, PreflightError, Problem, StorageError, nearest
from wsss.files import read_copy, read_file, write_atomic, write_copy, writing
from wsss.pipeline.cache import cache_folder
from wsss.pipeline.lease import TIMEOUT, FileLease, Lease
from wsss.pipeline.ledger import Ledger
from wsss.pipeline.records import parse_entry
from wsss.pipeline.store import Store
from wsss.store.objects import Objects, older_layout

STUDY = "study.yaml"
DATA = "data.json"
"""What a study's data held when it was last run."""


class Storage:
    """A storage in a folder that every process (and node) can reach.

    `local` is a folder of this machine for what need not be shared; here it is the storage itself.
    """

    def __init__(self, location: Location, local: Path, *, lease_timeout: float = TIMEOUT) -> None:
        self.location = location
        self.local = local
        self.lease_timeout = lease_timeout

    @functools.cached_property
    def store(self) -> Store:
        return Store(self.local / "store", lease_timeout=self.lease_timeout)

    def check(self) -> None:
        """Write and delete something. Raises `PreflightError` naming the storage."""
        try:
            self.local.mkdir(parents=True, exist_ok=True)
            probe = self.local / f".probe-{uuid.uuid4().hex[:8]}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            message = f"can't be written: {error.strerror}"
            raise PreflightError(Problem(str(self.local), message, "give --storage FOLDER")) from error

    def study_folder(self, name: str) -> Path:
        """Return this machine's folder for a study."""
        return self.local / "studies" / name

    def study_address(self, name: str) -> str:
        """Name the study's place for people."""
        return str(self.study_folder(name))

    def ledger(self, name: str) -> Ledger:
        return Ledger(self.study_folder(name))

    def study_text(self, name: str) -> str | None:
        """Return the study file that was stored under a name, None without one.

        Raises `ConfigError` when it is no text in UTF-8.
        """
        path = self.study_folder(name) / STUDY
        try:
            return _text(read_file(path), str(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ConfigError(Problem(str(path), f"can't be read: {reason}")) from error

    def write_study(self, name: str, text: str) -> None:
        """Store a study file. Raises `StorageError`."""
        with writing(self.study_folder(name)):
            write_atomic(self.study_folder(name) / STUDY, text)

    def inventory(self, name: str) -> Inventory | None:
        """Return what a study's data held when it was last run; None when that isn't known."""
        return read_inventory(self._inventory_text(name))

    def write_inventory(self, name: str, inventory: Inventory) -> None:
        """Keep what a study's data hold. Raises `StorageError`."""
        with writing(self.study_folder(name)):
            write_atomic(self.study_folder(name) / DATA, inventory.to_json())

    def _inventory_text(self, name: str) -> bytes | None:
        try:
            return (self.study_folder(name) / DATA).read_bytes()
        except OSError:
            return None

    def lease(self, name: str, about: Mapping[str, str]) -> Lease:
        """Return the wish to run a study; `about` is what the lease says of its holder besides."""
        return FileLease(self.study_folder(name), about=about, timeout=self.lease_timeout)

    def study_names(self) -> list[str]:
        """Return the names of all studies that were ever begun, sorted."""
        found = (self.local / "studies").glob("*/*")
        return sorted({path.parent.name for path in found if path.name in (STUDY, "ledger.jsonl")})

    def require(self, name: str) -> None:
        """Raise `ConfigError` with the nearest name if there is no such study."""
        if name not in self.study_names():
            known = self.study_names()
            hint = nearest(name, known) if known else "the storage has no studies yet"
            raise ConfigError(Problem(str(self.location), f"no study is named {name!r}", hint))


class RemoteStorage(Storage):
    """A storage on an object storage; `local` is this machine's cache of it."""

    def __init__(self, uri: str, *, cache: Path | None = None, lease_timeout: float = TIMEOUT) -> None:
        super().__init__(uri, cache or cache_folder(uri), lease_timeout=lease_timeout)
        self.objects = Objects(uri)

    @functools.cached_property
    def store(self) -> Store:
        from wsss.store.object_store import ObjectStore

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
        return RemoteLedger(self.objects, name, self.study_folder(name))

    def study_text(self, name: str) -> str | None:
        content = self.objects.read(f"studies/{name}/{STUDY}")
        return None if content is None else _text(content, f"{self.study_address(name)}/{STUDY}")

    def write_study(self, name: str, text: str) -> None:
        self.objects.write(f"studies/{name}/{STUDY}", text.encode())

    def write_inventory(self, name: str, inventory: Inventory) -> None:
        self.objects.write(f"studies/{name}/{DATA}", inventory.to_json().encode())

    def _inventory_text(self, name: str) -> bytes | None:
        return self.objects.read(f"studies/{name}/{DATA}")

    def lease(self, name: str, about: Mapping[str, str]) -> Lease:
        from wsss.store.object_partial import ObjectLease

        return ObjectLease(self.objects, f"studies/{name}", about=about, timeout=self.lease_timeout)

    def study_names(self) -> list[str]:
        return [
            name
            for name in self.objects.folders("studies")
            if any(one.name.endswith((STUDY, ".json")) for one in self.objects.below(f"studies/{name}"))
        ]


class RemoteLedger(Ledger):
    """A ledger as one object an entry, in the order of their names; copies are kept in `cache`."""

    def __init__(self, objects: Objects, study: str, cache: Path) -> None:
        super().__init__(cache)
        self._objects = objects
        self._place = f"studies/{study}/ledger"
        self._cache = cache / "ledger"
        self._last: int | None = None

    def _names(self) -> list[str]:
        names = [one.name.rpartition("/")[2] for one in self._objects.below(self._place)]
        if any(not re.fullmatch(r"\d{8,}\.json", name) for name in names):
            raise older_layout(self._objects)
        return names

    def _write(self, line: str) -> None:
        if self._last is None:
            numbers = [int(name[:8]) for name in self._names() if name[:8].isdigit()]
            self._last = max(numbers, default=0)
        while True:  # a number belongs to whoever creates its object
            self._last += 1
            if self._objects.create(f"{self._place}/{self._last:08d}.json", line.encode()) is not None:
                return

    def exists(self) -> bool:
        return bool(self._names())

    def stamp(self) -> Hashable:
        return tuple(self._names())

    def _lines(self) -> Iterator[tuple[str, bytes]]:
        names = self._names()
        return zip(names, self._objects.map(self._line, names), strict=True)

    def _line(self, name: str) -> bytes:
        """Return an entry, from this machine's copy if that is still what was copied."""
        line = read_copy(self._cache / name)
        if line is None:
            line = self._objects.read(f"{self._place}/{name}") or b""
            with contextlib.suppress(OSError, ValueError):  # what can't be read may be mended
                parse_entry(line)
                write_copy(self._cache / name, line)
        return line + b"\n"

    def _name(self) -> str:
        return self._objects.address(self._place)


def _text(content: bytes, where: str) -> str:
    """Return a stored study's text. Raises `ConfigError` for what can't have been written as one."""
    hint = "move it away and `run` the study with your own file: it goes on"
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(Problem(where, "is not a text file in UTF-8", hint)) from error
    if "\0" in text:
        raise ConfigError(Problem(where, "holds NUL bytes, and so is no text", hint))
    return text


def open_storage(location: Location, *, lease_timeout: float = TIMEOUT) -> Storage:
    """Return the storage in a folder or at a URI. Raises `PreflightError` for a URI of no use."""
    if isinstance(location, str) and "://" in location:
        return RemoteStorage(location, lease_timeout=lease_timeout)
    return Storage(location, Path(location), lease_timeout=lease_timeout)
