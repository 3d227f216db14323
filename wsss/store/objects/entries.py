"""The entries of an object storage: read, remembered for a moment, replaced by conditional puts."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from wsss.files import read_copy, write_copy
from wsss.store.artefact import RECORD
from wsss.store.objects.client import Objects, older_layout
from wsss.store.objects.entry import Entry, State, parse_entry_object
from wsss.store.records import say_once

STORE = "store"
REMEMBER_SECONDS = 30.0
"""How long it is believed that a finished artefact is still there; what is missing is always looked up."""


def place_of(key: str) -> str:
    """Return the name that all objects of an artefact begin with."""
    return f"{STORE}/{key[:2]}/{key}"


class Entries:
    """What the storage says of each key.

    Args:
        objects: the storage.
        notes: this machine's folder for copies of entries.
        remedy: what becomes of a damaged one, for messages.
    """

    def __init__(self, objects: Objects, notes: Path, remedy: str) -> None:
        self._objects = objects
        self._notes = notes
        self._remedy = remedy
        self._seen: dict[str, tuple[float, Entry]] = {}
        self._listed: dict[str, tuple[float, str]] = {}
        self._complete: dict[str, tuple[float, str]] = {}
        self._attempts: dict[str, dict[str, int]] = {}
        """Key → attempt → bytes of its files, as they were listed last."""

    def get(self, key: str, *, fresh: bool = False) -> Entry | None:
        """Return what the storage says of a key, None where it has no entry.

        `fresh` asks the storage itself; otherwise an entry is remembered for a while.
        """
        now = time.monotonic()
        seen = self._seen.get(key)
        if not fresh and seen is not None and now - seen[0] <= REMEMBER_SECONDS:
            return seen[1]
        listed = self._listed.pop(key, None)
        if not fresh and listed is not None and now - listed[0] <= REMEMBER_SECONDS:
            entry = self._noted(key, listed[1])
            if entry is not None:
                return self._remember(key, entry)
        name = _name(key)
        found = self._objects.get(name)
        if found is None:
            self._seen.pop(key, None)
            return None
        try:
            entry = parse_entry_object(found.bytes, key, found.version)
        except ValueError as error:
            say_once(self._objects.address(name), f"is damaged ({error}): {self._remedy}")
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

    def write(self, key: str, entry: Entry, *, over: Entry | None) -> bool:
        """Write an entry; False if another process was quicker.

        Args:
            key: of the artefact.
            entry: the new one.
            over: the entry that was read and is replaced; None where there was none.
        """
        self.forget(key)
        if over is None or not over.version:
            return self._objects.create(_name(key), entry.content()) is not None
        return self._objects.replace(_name(key), entry.content(), over.version) is not None

    def turn(self, key: str, entry: Entry, state: State) -> bool:
        """Change an entry's state; False if another process changed it since it was read."""
        self.forget(key)
        return self._objects.replace(_name(key), entry.content(state), entry.version) is not None

    def forget(self, key: str) -> None:
        """Read a key from the storage next time."""
        for memory in (self._seen, self._listed, self._complete, self._attempts):
            memory.pop(key, None)

    def is_complete(self, key: str, entry: Entry, *, fresh: bool = False) -> bool:
        """Tell whether all files that an entry names are in the storage, by names and sizes."""
        seen, now = self._complete.get(key), time.monotonic()
        if not fresh and seen and seen[1] == entry.version and now - seen[0] <= REMEMBER_SECONDS:
            return True
        place = f"{place_of(key)}/{entry.attempt}/"
        there = {one.name.removeprefix(place): one.bytes for one in self._objects.below(place.rstrip("/"))}
        complete = all(there.get(name) == facts["bytes"] for name, facts in entry.record["files"].items())
        if complete:
            self._complete[key] = (now, entry.version)
        return complete

    def keys(self) -> list[str]:
        """Return the keys of all entries, sorted, from one listing."""
        now = time.monotonic()
        self._listed, self._attempts = {}, {}
        for one in self._objects.below(STORE):
            parts = one.name.split("/")
            if len(parts) < 4 or len(parts[1]) != 2:
                continue
            attempts = self._attempts.setdefault(parts[2], {})
            if len(parts) == 4 and parts[3] == RECORD:
                self._listed[parts[2]] = (now, one.version)
            elif len(parts) == 5 and parts[4] == RECORD:
                raise older_layout(self._objects)
            elif len(parts) > 4:
                attempts[parts[3]] = attempts.get(parts[3], 0) + one.bytes
        return sorted(self._listed)

    def left(self, key: str, attempt: str) -> int | None:
        """Return the bytes of an attempt's files, as its keys were listed last; None where it has none."""
        attempts = self._attempts.get(key)
        if attempts is None:
            return sum(one.bytes for one in self._objects.below(f"{place_of(key)}/{attempt}")) or None
        return attempts.get(attempt)


def _name(key: str) -> str:
    return f"{place_of(key)}/{RECORD}"
