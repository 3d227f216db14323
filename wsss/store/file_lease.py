"""A lease that is a file in a folder.

lease                   who holds it
lease.after-<owner>     who took it over from that owner, for good: such a file can be created once
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from wsss.files import read_file, write_atomic, writing
from wsss.store.lease import LEASE, TIMEOUT, Lease, Leases
from wsss.store.records import parse_lease

CLAIM_SECONDS = 0.01
"""Between two looks at whether another process has done what it does alone."""


class FileLease(Lease):
    """A lease that is one file, `<folder>/lease`, on a file system where a name can be created once.

    Two that find it free both create `lease`; two that find it stale both create `lease.after-<owner>`,
    `owner` being the one that gave no sign of life. One of them succeeds, however long ago the other one
    looked; its own lease then stands in `lease` too.
    """

    def __init__(
        self,
        folder: Path,
        *,
        inputs: Sequence[str] = (),
        about: Mapping[str, str] = MappingProxyType({}),
        timeout: float = TIMEOUT,
    ) -> None:
        super().__init__(inputs=inputs, about=about, timeout=timeout)
        self.folder = folder
        self.path = folder / LEASE
        self._taken_over: list[Path] = []

    def others(self) -> Leases:
        found = _in_force(self.path)
        return (
            {} if found is None or found.owner == self.owner else {found.owner: (found.state, found.content)}
        )

    def _claim(self, stale: set[str]) -> bool:
        aside = self.folder / f".lease-{uuid.uuid4().hex[:8]}"
        try:
            write_atomic(aside, json.dumps(self.content()), lasting=False)
            if not stale:
                return _create(aside, self.path)
            for owner in stale:
                after = _after(self.path, owner)
                if not _create(aside, after):
                    return False
                self._taken_over.append(after)
            if not self._is_mine():  # what was stale has gone meanwhile, and may be another's by now
                self._forget()
                return False
            self._write()
            return True
        except (FileNotFoundError, FileExistsError):  # another process has just removed the folder
            if self.folder.is_file():
                raise
            return False
        finally:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                aside.unlink()

    def _is_mine(self) -> bool:
        """Raises `OSError` when that can't be seen: a file server that is away has given it to nobody."""
        if not self.path.is_dir():
            with contextlib.suppress(FileNotFoundError, ValueError):
                read_file(self.path)
        found = _in_force(self.path)
        return found is not None and found.owner == self.owner

    def _write(self) -> None:
        if self.path.is_dir():  # something else has put it there
            self.path.rename(self.path.with_name(f".no-lease-{uuid.uuid4().hex[:8]}"))
        write_atomic(self.path, json.dumps(self.content()), lasting=False)

    def _renew(self) -> bool:
        if not self._is_mine():
            return False
        try:
            self._write()
        except OSError:
            os.utime(self.path)  # needs no space on a full disk
        return True

    def _drop(self) -> None:
        try:
            if self._is_mine():
                self._taken_over = list(self.folder.glob(f"{LEASE}.after-*"))  # also of holders that died
                self.path.unlink(missing_ok=True)
            self._forget()
        except OSError:  # a storage that can't be written any more: the lease goes stale by itself
            return

    def _forget(self) -> None:
        """Delete the marks of takeovers, which no process asks for once the lease is dropped."""
        for after in self._taken_over:
            after.unlink(missing_ok=True)
        self._taken_over.clear()


@dataclass(frozen=True)
class _Found:
    """A lease as it was found; `owner` is made up from its bytes when it doesn't say one."""

    owner: str
    state: str
    content: dict[str, Any]


def _after(path: Path, owner: str) -> Path:
    return path.with_name(f"{path.name}.after-{owner}")


def _create(source: Path, target: Path) -> bool:
    """Give `source` a second name; False if that name is taken already."""
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    except FileNotFoundError:
        raise
    except OSError:  # a file system without links
        try:
            with target.open("xb") as file:
                file.write(source.read_bytes())
        except FileExistsError:
            return False
    return True


def _read(path: Path) -> _Found | None:
    stamp, content = 0, b""
    try:
        stamp = path.stat().st_mtime_ns
        content = read_file(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):  # a folder, or somebody else's: waited for until it has long been the same
        pass
    about = parse_lease(content)
    state = f"{stamp} {content.decode(errors='replace')}"
    made_up = f"unknown-{hashlib.sha256(state.encode()).hexdigest()[:16]}"
    return _Found(about.get("owner", made_up), state, about)


def _in_force(path: Path) -> _Found | None:
    """Return the lease that counts: that in the file, or of who has taken it over, and so on."""
    found = _read(path)
    seen: set[str] = set()
    while found is not None and found.owner not in seen:
        seen.add(found.owner)
        later = _read(_after(path, found.owner))
        if later is None:
            break
        found = later
    return found


@contextlib.contextmanager
def alone_in(folder: Path, *, timeout: float = TIMEOUT) -> Iterator[None]:
    """Hold the lease of a folder that exists for its lease alone; wait for it as long as it takes.

    Raises `StorageError` where the folder can't be written.

    Args:
        folder: made for the lease, and removed with it.
        timeout: seconds without a sign of life after which the lease of a process that died is taken over.
    """
    lease = FileLease(folder, timeout=timeout)
    with writing(folder):
        while not lease.acquire():
            time.sleep(CLAIM_SECONDS)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            for path in folder.iterdir():  # files of processes that died here
                if path.name != LEASE:
                    path.unlink(missing_ok=True)
        lease.release()
        with contextlib.suppress(OSError):  # the next one is in it already
            folder.rmdir()


def leases_at(path: Path) -> Leases:
    """Return the lease in a file: one, or none.

    The content is empty when it can't be read; the owner is then made up.
    """
    found = _in_force(path)
    return {} if found is None else {found.owner: (found.state, found.content)}
