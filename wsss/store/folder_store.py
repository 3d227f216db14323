"""The artefact store: content-addressed folders, each written once and never changed.

    <root>/<key[:2]>/<key>/artefact.json    written last: with it the artefact exists
    <root>/partial/<key>/                   an artefact being made (see `wsss.store.partial`)
    <root>/damaged/<key>-<n>/               set aside because a file was missing or had changed
    <root>/clearing/<key>/                  a lease: somebody evicts an artefact, or moves it out of the way

A commit is a rename of a finished folder, so that the first of two writers wins and a reader sees
all of an artefact or nothing. What is in the way of a commit is moved by one process at a time, so
that none moves what another has just put there. An eviction marks the artefact first and deletes its
files then: one that was cut short is seen as evicted, and goes on when it is asked for again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsss.errors import StorageError
from wsss.files import (
    damaged_files,
    describe_files,
    files_below,
    make_folder,
    parse_json,
    read_file,
    sync,
    sync_below,
    with_checksum,
    write_json,
    writing,
)
from wsss.store.artefact import EVICTED, RECORD, Artefact
from wsss.store.file_lease import alone_in
from wsss.store.known_records import KnownRecords, check_access
from wsss.store.lease import TIMEOUT, Leases
from wsss.store.leftovers import (
    CLEARING,
    DAMAGED,
    Leftover,
    besides_record,
    folder_bytes,
    half_made_below,
    leases_below,
    names_in,
    set_aside_below,
)
from wsss.store.partial import Partial
from wsss.store.records import parse_record, say_once


class Store:
    """Artefacts by key, on one folder that every process (and node) can reach.

    `lease_timeout` is how many seconds a run that makes an artefact may give no sign of life before
    another one takes over. The folder is made when something is first written to it.
    """

    def __init__(self, root: Path, *, lease_timeout: float = TIMEOUT) -> None:
        self.root = root
        self.lease_timeout = lease_timeout
        self.remedy = "it is made again when it is needed"
        self._verified: set[str] = set()
        self._unusable: set[str] = set()
        """Keys of what is damaged and can't be set aside, as the storage can only be read."""
        self._records = KnownRecords()

    def folder(self, key: str) -> Path:
        return self.root / key[:2] / key

    def known(self, key: str) -> Artefact | None:
        """Return the artefact if it was ever finished, even when its files have been evicted."""
        return self._look(key)[0]

    def _look(self, key: str) -> tuple[Artefact | None, str]:
        return self._records.look(key, self.folder(key))

    def has(self, key: str) -> bool:
        """Tell whether all files of the artefact are there; a damaged one is set aside."""
        return self.get(key) is not None

    def get(self, key: str, *, thorough: bool = False) -> Artefact | None:
        """Return the artefact if all its files are there; set a damaged one aside and return None.

        `thorough` reads every byte (once per process and key) and compares digests; otherwise names and
        sizes are compared, and the digests of small JSON files.
        """
        if key in self._unusable:
            return None
        thorough = thorough and key not in self._verified
        if self._damage(key, thorough):
            self._set_aside_damaged(key, thorough)
        artefact = self.known(key)
        if artefact is None or artefact.evicted or key in self._unusable:
            return None
        if thorough:
            self._verified.add(key)
        return artefact

    def read(self, key: str, name: str) -> bytes | None:
        """Return the bytes of an artefact's file, which are compared with its record every time.

        None without it; one that has changed is set aside.
        """
        for _ in range(2):  # a copy of an object storage is copied again
            artefact = self.get(key)
            facts = None if artefact is None else artefact.record["files"].get(name)
            if artefact is None or facts is None:
                return None
            with contextlib.suppress(FileNotFoundError):
                content = (artefact.folder / name).read_bytes()
                if hashlib.sha256(content).hexdigest() == facts["sha256"]:
                    return content
            self._reject(key)
        return None

    def read_json(self, key: str, name: str) -> dict[str, Any] | None:
        """Return what an artefact's JSON file holds, read as `read` does; None without it."""
        content = self.read(key, name)
        try:
            value = None if content is None else parse_json(content)
        except ValueError as error:
            say_once(str(self.folder(key) / name), f"can't be used: {error}")
            return None
        return value if isinstance(value, dict) else None

    def _reject(self, key: str) -> None:
        """Set aside an artefact a file of which was just seen to have changed."""
        self._verified.discard(key)
        self._set_aside_damaged(key, thorough=True)

    def _damage(self, key: str, thorough: bool) -> str:
        """Name what is wrong with what is there; nothing is wrong with what was evicted or never finished."""
        artefact, wrong = self._look(key)
        if artefact is None or artefact.evicted:
            return wrong
        return ", ".join(damaged_files(artefact.folder, artefact.record["files"], thorough=thorough)[:3])

    def _set_aside_damaged(self, key: str, thorough: bool) -> None:
        try:
            with self._alone(key):
                damage = self._damage(key, thorough)  # else it was made again meanwhile
                if damage:
                    self._move_aside(key)
                    say_once(str(self.folder(key)), f"is damaged and set aside ({damage}): {self.remedy}")
        except StorageError as error:
            if not self._can_only_be_read(error):
                raise
            self._unusable.add(key)
            say_once(str(self.folder(key)), "is damaged, and counts as missing")

    def _can_only_be_read(self, error: StorageError) -> bool:
        cause = error.__cause__
        return isinstance(cause, OSError) and cause.errno in (errno.EROFS, errno.EACCES, errno.EPERM)

    def set_aside(self, key: str) -> None:
        """Move an artefact out of the way, so that it is made again; nothing is deleted."""
        with self._alone(key):
            self._move_aside(key)

    def _move_aside(self, key: str) -> None:
        aside = self.root / DAMAGED / f"{key}-{uuid.uuid4().hex[:6]}"
        with writing(aside):
            make_folder(aside.parent)
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

        `folder` must be on the store's file system and is gone afterwards. Everything is on the disk before
        it counts. Raises `StorageError` when the storage is full or read-only.
        """
        with writing(self.folder(key)):
            self._describe(key, folder, record)
            return self._take(key, folder)

    def _describe(self, key: str, folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
        """Write the record of a folder's files, after them, and return it as it is read back."""
        sync_below(folder)
        names = [name for name in files_below(folder) if name != RECORD]
        whole = {**record, "key": key, "files": describe_files(folder, names)}
        write_json(folder / RECORD, with_checksum(whole))
        return parse_record(read_file(folder / RECORD), key)

    def _take(self, key: str, folder: Path) -> Artefact:
        """Rename a folder with its record to where the artefact belongs, unless there is one."""
        target = self.folder(key)
        make_folder(target.parent)
        if self._in_the_way(key):
            with self._alone(key):
                if self._in_the_way(key):
                    self._move_aside(key)
        record = parse_record(read_file(folder / RECORD), key)
        for last in (False, True):
            try:
                folder.rename(target)
                break
            except OSError:
                artefact = self.get(key)
                if artefact is not None:
                    shutil.rmtree(folder)
                    return artefact
                if last:  # else what was there was damaged, and has just been set aside
                    raise
        sync(target.parent)
        self._unusable.discard(key)
        return Artefact(key, target, record)

    def _in_the_way(self, key: str) -> bool:
        """Tell whether a folder without a readable record, or an evicted one, is where `key` belongs."""
        if not self.folder(key).exists():
            return False
        known, damage = self._look(key)
        if known is None and not damage:
            check_access(self.folder(key) / RECORD)
        return known is None or known.evicted

    def _alone(self, key: str) -> contextlib.AbstractContextManager[None]:
        """Keep others from moving or evicting what is at `key`."""
        return alone_in(self.root / CLEARING / key, timeout=self.lease_timeout)

    def evict(self, key: str) -> int:
        """Delete an artefact's files, keep its record; return the bytes freed.

        Readers see an evicted artefact before the first file goes. What an eviction that was cut short has
        left goes too. Raises `StorageError`.
        """
        if self.left(key) is None:
            return 0
        with writing(self.folder(key)), self._alone(key):
            artefact = self.known(key)
            if artefact is None:
                return 0
            if not artefact.evicted:
                (artefact.folder / EVICTED).touch()
                sync(artefact.folder)
            freed = 0
            for path in besides_record(artefact.folder):
                freed += folder_bytes(path)
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            return freed

    def left(self, key: str) -> int | None:
        """Return the bytes of files that an artefact has besides its record: none, when it was evicted or
        never finished, and some, when an eviction was cut short."""
        artefact = self.known(key)
        if artefact is None:
            return None
        if not artefact.evicted:
            return artefact.bytes
        left = besides_record(artefact.folder)
        return sum(map(folder_bytes, left)) if left else None

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
            for prefix in sorted(name for name in names_in(self.root) if len(name) == 2)
            for key in sorted(names_in(self.root / prefix))
        ]

    def leases(self) -> Leases:
        """Return who makes an artefact, or did until it died."""
        return leases_below(self.root)

    def drop_copies(self, *, dry_run: bool) -> int:
        """Delete this machine's copies of artefacts that nobody reads; return their bytes. A folder has none:
        the artefacts themselves are there."""
        return 0

    def half_made(self) -> list[Leftover]:
        """Return what has been begun, also by runs that are at it, and the claims of those that died."""
        return half_made_below(self.root)

    def damaged(self) -> list[Leftover]:
        """Return what was set aside."""
        return set_aside_below(self.root)
