"""Objects below one address, through pyarrow: read, written, listed, deleted; tried again on failure.

Object storages neither rename nor append, and an object appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from wsss.errors import PreflightError, Problem, StorageError

TRIES = 3
PAUSE = 0.5
"""Seconds before the second try; doubled before each further one."""
PARALLEL = 16
PART = 8 * 1024**2
Result = TypeVar("Result")


@dataclass(frozen=True)
class Object:
    """`name` is relative to the address; `modified` is the storage's own time, in ns."""

    name: str
    bytes: int
    modified: int


class Objects:
    """What is below `uri`. Raises `PreflightError` for an address that can't be used.

    Every method raises `StorageError`, naming the address, when the storage doesn't answer `tries`
    times in a row.
    """

    def __init__(self, uri: str, *, tries: int = TRIES, pause: float = PAUSE) -> None:
        from pyarrow import fs  # a heavy import, and needed by few

        self.uri = uri
        self._tries = tries
        self._pause = pause
        self._selector = fs.FileSelector
        self._is_file = fs.FileType.File
        self._not_found = fs.FileType.NotFound
        try:
            self._fs, self._root = fs.FileSystem.from_uri(uri)
        except (OSError, ValueError, NotImplementedError, ImportError) as error:
            hint = "give --storage FOLDER or s3://bucket/prefix"
            raise PreflightError(Problem(uri, f"can't be used as a storage: {error}", hint)) from error

    def address(self, name: str) -> str:
        """Return the address of an object, as people write it."""
        return f"{self.uri.partition('?')[0]}/{name}"

    def _do(self, what: str, name: str, call: Callable[[], Result]) -> Result:
        for left in reversed(range(self._tries)):
            try:
                return call()
            except FileNotFoundError:
                raise
            except OSError as error:
                if not left:
                    lines = str(error).splitlines() or [type(error).__name__]
                    message = f"can't be {what}: {lines[0][:300]} ({self._tries} tries)"
                    hint = "everything finished is kept; `resume` when the storage answers"
                    raise StorageError(Problem(self.address(name), message, hint)) from error
                time.sleep(self._pause * 2 ** (self._tries - 1 - left))
        raise AssertionError

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def read(self, name: str) -> bytes | None:
        """Return an object's content, None if there is none."""

        def call() -> bytes:
            with self._fs.open_input_stream(self._path(name)) as stream:
                return bytes(stream.read())

        try:
            return self._do("read", name, call)
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Write a small object."""

        def call() -> None:
            with self._fs.open_output_stream(self._path(name)) as stream:
                stream.write(content)

        self._do("written", name, call)

    def upload(self, path: Path, name: str) -> None:
        """Write a file's content as an object."""

        def call() -> None:
            with path.open("rb") as file, self._fs.open_output_stream(self._path(name)) as stream:
                while part := file.read(PART):
                    stream.write(part)

        self._do("written", name, call)

    def upload_all(self, folder: Path, names: Iterable[str], prefix: str) -> None:
        """Write files below a folder as objects below a prefix, several at a time."""
        self.map(lambda name: self.upload(folder / name, f"{prefix}/{name}"), names)

    def download(self, name: str, path: Path) -> str:
        """Write an object's content into a file; return its hex SHA-256.

        Raises `FileNotFoundError` if there is no such object.
        """

        def call() -> str:
            digest = hashlib.sha256()
            with self._fs.open_input_stream(self._path(name)) as stream, path.open("wb") as file:
                while part := stream.read(PART):
                    digest.update(part)
                    file.write(part)
            return digest.hexdigest()

        path.parent.mkdir(parents=True, exist_ok=True)
        return self._do("read", name, call)

    def map(self, function: Callable[[str], Result], names: Iterable[str]) -> list[Result]:
        """Return `function(name)` for every name, in order, several at a time."""
        with ThreadPoolExecutor(PARALLEL) as pool:
            return list(pool.map(function, names))

    def below(self, prefix: str, *, deep: bool = True) -> list[Object]:
        """Return the objects below a prefix, sorted by name; without `deep`, those right below it."""

        def call() -> Any:
            where = self._selector(self._path(prefix), allow_not_found=True, recursive=deep)
            return self._fs.get_file_info(where)

        found = self._do("listed", prefix, call)
        cut = len(self._root) + 1
        return sorted(
            (Object(info.path[cut:], info.size, info.mtime_ns or 0) for info in found
             if info.type == self._is_file),
            key=lambda one: one.name,
        )  # fmt: skip

    def folders(self, prefix: str) -> list[str]:
        """Return the last part of the names of what has objects below it, right below a prefix."""

        def call() -> Any:
            return self._fs.get_file_info(self._selector(self._path(prefix), allow_not_found=True))

        found = self._do("listed", prefix, call)
        return sorted(info.base_name for info in found if info.type not in (self._is_file, self._not_found))

    def delete(self, *names: str) -> None:
        """Delete objects; those that aren't there don't matter."""

        def one(name: str) -> None:
            try:
                self._do("deleted", name, lambda: self._fs.delete_file(self._path(name)))
            except FileNotFoundError:
                return

        self.map(one, names)
