"""Writing files so that a reader never sees half of one, and telling whether one is whole."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from wsss.errors import Problem, StorageError

STORAGE_ERRORS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE}
)
"""What a full, read-only or vanished disk answers."""


def storage_error(place: str | Path, error: OSError) -> StorageError | None:
    """Return the error to tell when it is the storage that can't be written, else None."""
    if error.errno not in STORAGE_ERRORS:
        return None
    where = str(error.filename2 or error.filename or place)
    message = f"can't be written: {error.strerror}"
    hint = "everything finished is kept; make room or give access, then `resume`"
    return StorageError(Problem(where, message, hint))


@contextlib.contextmanager
def writing(place: str | Path) -> Iterator[None]:
    """Raise `StorageError` with the path instead of the `OSError` of a disk that is full or read-only."""
    try:
        yield
    except OSError as error:
        told = storage_error(place, error)
        if told is None:
            raise
        raise told from error


def sha256_file(path: Path) -> str:
    """Return the hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Return the hex SHA-256 of a JSON value in canonical form (sorted keys, no white space)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a whole file or nothing: aside, flushed to disk, then renamed over `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with aside.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically, readable by people."""
    write_atomic(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Return a JSON file's content, or None when it is missing, empty or cut short."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def place(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, without copying where the file system allows it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def files_below(folder: Path) -> list[str]:
    """Return the relative paths of all files below `folder`, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def describe_files(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return name → {"bytes", "sha256"} for files below `folder`."""
    return {
        name: {"bytes": (folder / name).stat().st_size, "sha256": sha256_file(folder / name)}
        for name in names
    }


def damaged_files(folder: Path, described: dict[str, dict[str, Any]], *, thorough: bool) -> list[str]:
    """Return what is missing or differs from its description; `thorough` reads every byte."""
    bad = []
    for name, facts in described.items():
        path = folder / name
        if (
            not path.is_file()
            or path.stat().st_size != facts["bytes"]
            or (thorough and sha256_file(path) != facts["sha256"])
        ):
            bad.append(name)
    return bad
