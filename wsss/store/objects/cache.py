"""What a machine keeps of an object storage: copies of artefacts, bounded, the oldest go first."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from wsss.errors import PreflightError, Problem
from wsss.files import read_file, write_atomic
from wsss.store.folder_store import Store
from wsss.store.lease import is_dead, this_process
from wsss.store.leftovers import PARTIAL
from wsss.store.records import parse_lease

FOLDER = "WSSS_CACHE"
LIMIT = "WSSS_CACHE_GIB"
DEFAULT_GIB = 50.0
GRACE = 600.0
"""Seconds for which what was just used stays, whatever the bound."""


def cache_root() -> Path:
    """Return the folder of all caches: WSSS_CACHE, or `wsss` in the user's cache folder."""
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get(FOLDER) or user / "wsss").expanduser().absolute()


def cache_folder(uri: str) -> Path:
    """Return this machine's folder for a storage."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", uri.partition("?")[0]).strip("-")[:60]
    return cache_root() / f"{name}-{hashlib.sha256(uri.encode()).hexdigest()[:8]}"


def cache_limit() -> int:
    """Return the most bytes that a cache may hold: WSSS_CACHE_GIB, or 50 GiB."""
    text = os.environ.get(LIMIT) or str(DEFAULT_GIB)
    try:
        limit = float(text)
    except ValueError:
        limit = -1.0
    if limit < 0:
        raise PreflightError(Problem(LIMIT, f"is {text!r}, but must be a number of GiB, 0 or more"))
    return int(limit * 1024**3)


class Cache:
    """Copies of artefacts in a local store, with the times of their last use.

    What a process reads at the moment, or did within the last `grace` seconds, is never deleted.
    """

    def __init__(self, store: Store, limit: int, *, grace: float = GRACE) -> None:
        self.store = store
        self.limit = limit
        self.grace = grace
        self._used = store.root / "used"
        self._in_use = store.root / "in-use"
        self._bytes: int | None = None

    def touch(self, key: str) -> None:
        """Note that a copy is used now."""
        self._touched(key)

    def _touched(self, name: str) -> float:
        """Give a note the time of now, by the clock of who keeps it: the cache may be on a file server."""
        self._used.mkdir(parents=True, exist_ok=True)
        note = self._used / name
        note.touch()
        return note.stat().st_mtime

    @contextlib.contextmanager
    def using(self, keys: Sequence[str]) -> Iterator[None]:
        """Keep copies for as long as this process reads them."""
        notes = [self._in_use / f"{key}.{uuid.uuid4().hex[:8]}" for key in keys]
        try:
            for note in notes:
                write_atomic(note, json.dumps({"owner": note.name, **this_process()}))
            yield
        finally:
            for note in notes:
                note.unlink(missing_ok=True)

    def added(self, count: int) -> None:
        """Note that a copy of so many bytes came, and make room if there are too many."""
        if self._bytes is not None:
            self._bytes += count
        if self._bytes is None or self._bytes > self.limit:
            self._bytes = self.trim(self.limit)

    def trim(self, limit: int, *, dry_run: bool = False) -> int:
        """Delete the copies that were used longest ago until `limit` bytes are left; return what is left."""
        pinned = self._pinned()
        found = []
        for artefact in self.store:
            try:
                used = (self._used / artefact.key).stat().st_mtime
            except OSError:
                used = 0.0
            found.append((used, artefact.key, artefact.bytes))
        now = self._touched(".now")
        total = sum(count for _, _, count in found)
        for used, key, count in sorted(found):
            if total <= limit:
                break
            if key in pinned or now - used < self.grace:
                continue
            if not dry_run:
                self.drop(key)
            total -= count
        return total

    def drop(self, key: str) -> None:
        """Delete a copy, in one move."""
        # Half-deleted by a process that is killed, it is found there.
        aside = self.store.root / PARTIAL / f".removed-{uuid.uuid4().hex[:8]}"
        aside.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            self.store.folder(key).rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
        (self._used / key).unlink(missing_ok=True)

    def _pinned(self) -> set[str]:
        pinned = set()
        for note in self._in_use.glob("*"):
            with contextlib.suppress(OSError, ValueError):
                if is_dead(parse_lease(read_file(note))):
                    note.unlink(missing_ok=True)
                    continue
            pinned.add(note.name.partition(".")[0])
        return pinned
