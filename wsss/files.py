"""Writing files so that a reader never sees half of one, and telling whether one is whole."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from wsss.errors import Problem, StorageError

STORAGE_ERRORS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE}
)
"""What a full, read-only or vanished disk answers."""
NO_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EBADF})
"""What file systems answer that know no sync of folders."""
HASHERS = 4
"""Threads that hash large artefacts; hashing holds no lock of Python's."""
WORTH_THREADS = 64 * 1024**2
"""Bytes of an artefact that is hashed by several threads."""
CHECKSUM = "sha256"
"""The key under which a record holds the SHA-256 of its other content."""
WRITING = ".writing"
"""The ending of a file or folder that is half written, and renamed once it is whole."""
MOST_BYTES = 256 * 1024**2
"""Bytes of the largest JSON file that is read; what is larger is none of ours."""
SMALL_JSON = 1024**2
"""JSON files of up to so many bytes are compared with their digest whenever an artefact is looked at."""
MOST_DIGITS = 20
"""Digits of the longest whole number in a JSON file: 2^64 has as many."""


def storage_error(place: str | Path, error: OSError, *, what: str = "written") -> StorageError | None:
    """Return the `StorageError` for a disk that is full, read-only or away; None for any other error.

    Args:
        place: the file or address, where the error names none.
        error: what the system raised.
        what: what can't be done, for the message.
    """
    if error.errno not in STORAGE_ERRORS:
        return None
    where = str(error.filename2 or error.filename or place)
    message = f"can't be {what}: {error.strerror}"
    hint = "everything finished is kept; make room or give access, then `resume`"
    return StorageError(Problem(where, message, hint))


def nearest_folder(path: Path) -> Path:
    """Return the path itself, or the nearest folder above it that exists: the disk that it is to stand on."""
    return next(place for place in (path, *path.parents) if place.exists())


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


def stamp_of(path: Path) -> tuple[int, int] | None:
    """Return a file's bytes and when it was changed, in nanoseconds; None where it can't be looked at."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns


def sha256_json(value: Any) -> str:
    """Return the hex SHA-256 of a JSON value in canonical form (sorted keys, no white space)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise
    finally:
        os.close(number)


def sync_below(folder: Path) -> None:
    """Wait until everything below a folder is on the disk: files first, then the folders that name them."""
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync(Path(parent, name))
        sync(Path(parent))


def standing_file(folder: Path) -> Path | None:
    """Return the file that stands where a folder, or one above it, should be; None where none does."""
    there = next((path for path in (folder, *folder.absolute().parents) if os.path.exists(path)), None)
    return there if there is not None and not os.path.isdir(there) else None


def make_folder(folder: Path) -> None:
    """Create a folder and what is missing above it, and wait until their names are on the disk."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for one in reversed(missing):
        one.mkdir(exist_ok=True)
        sync(one.parent)


def write_atomic(path: Path, content: bytes | str, *, lasting: bool = True) -> None:
    """Write a whole file or nothing: aside, flushed to disk, then renamed over `path`.

    Args:
        path: the file; folders above it are made.
        content: its bytes, or a text in UTF-8.
        lasting: whether it outlives a power cut. Without, writing is quicker, and the file may be empty after
            one.
    """
    if lasting:
        make_folder(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with aside.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            if lasting:
                file.flush()
                os.fsync(file.fileno())
        aside.replace(path)
        if lasting:
            sync(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically, readable by people."""
    write_atomic(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_file(path: Path) -> bytes:
    """Return the bytes of a small file.

    Raises `OSError`, and `ValueError` for a folder, a pipe or more than 256 MiB: neither is waited for nor
    taken into memory.
    """
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode):
        raise ValueError("is no file")
    if facts.st_size > MOST_BYTES:
        raise ValueError(f"has {facts.st_size} bytes, which is too large")
    return path.read_bytes()


def _whole_number(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is not finite")
    return value


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


_DECODER = json.JSONDecoder(parse_int=_whole_number, parse_float=_finite, parse_constant=_no_number)


def parse_json(content: bytes | str) -> Any:
    """Return the value of a JSON text that this program wrote.

    Raises `ValueError` for what it never writes: other encodings than UTF-8, byte order marks, NaN and
    infinity, whole numbers beyond 64 bits, half characters, deep nesting.
    """
    try:
        text = content.decode("utf-8") if isinstance(content, bytes) else content
    except UnicodeDecodeError as error:
        raise ValueError("is not a text in UTF-8") from error
    try:
        value = _DECODER.decode(text)
        if re.search(r"\\u[dD][89a-fA-F]", text):  # half of a character can be neither printed nor written
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise ValueError(f"is no JSON from its character {error.pos + 1:,} on") from error
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    return value


def read_json(path: Path) -> Any:
    """Return a JSON file's content, or None when it is missing or can't be read as `parse_json` does."""
    try:
        return parse_json(read_file(path))
    except (OSError, ValueError):
        return None


def with_checksum(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record, as it is read back, with the SHA-256 of its canonical form under `CHECKSUM`."""
    plain = json.loads(json.dumps(content, allow_nan=False))
    return {**plain, CHECKSUM: sha256_json(plain)}


def without_checksum(record: Any) -> dict[str, Any]:
    """Return a record's content after comparing its checksum; records of older versions have none.

    Raises `ValueError` when it is wrong, or the record no mapping.
    """
    if not isinstance(record, dict):
        raise ValueError(f"holds a {type(record).__name__}, but must hold a record")
    content = {name: value for name, value in record.items() if name != CHECKSUM}
    try:
        if CHECKSUM in record and record[CHECKSUM] != sha256_json(content):
            raise ValueError("its checksum is wrong")
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    return content


def write_copy(path: Path, content: bytes) -> None:
    """Write this machine's copy of something, with its own SHA-256 in the first line."""
    digest = hashlib.sha256(content).hexdigest().encode()
    write_atomic(path, digest + b"\n" + content, lasting=False)


def read_copy(path: Path) -> bytes | None:
    """Return a copy that `write_copy` made, None when there is none or it has changed since."""
    try:
        digest, _, content = read_file(path).partition(b"\n")
    except (OSError, ValueError):
        return None
    return content if hashlib.sha256(content).hexdigest().encode() == digest else None


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
    sizes = {name: (folder / name).stat().st_size for name in names}
    if sum(sizes.values()) < WORTH_THREADS:
        digests = [sha256_file(folder / name) for name in sizes]
    else:  # a GPU may wait for it
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(HASHERS) as threads:
            digests = list(threads.map(lambda name: sha256_file(folder / name), sizes))
    return {
        name: {"bytes": size, "sha256": digest}
        for (name, size), digest in zip(sizes.items(), digests, strict=True)
    }


def damaged_files(folder: Path, described: dict[str, dict[str, Any]], *, thorough: bool) -> list[str]:
    """Return the names of files that are missing or differ from their description.

    Args:
        folder: where they are.
        described: name → {"bytes", "sha256"}, as `describe_files` returns it.
        thorough: whether to read every byte; small JSON files, from which numbers are taken, are always read.
    """
    bad = []
    for name, facts in described.items():
        path = folder / name
        read = thorough or (name.endswith(".json") and facts["bytes"] <= SMALL_JSON)
        try:
            whole = path.is_file() and path.stat().st_size == facts["bytes"]
            if not whole or (read and sha256_file(path) != facts["sha256"]):
                bad.append(name)
        except FileNotFoundError:
            bad.append(name)
    return bad
