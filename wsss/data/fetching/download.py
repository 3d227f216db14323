"""Downloading one file: resumed where it broke off, checked before it counts.

Libraries for downloads with checksums start from zero after a break, which costs hours at two gigabytes
from a slow host; hence these lines.
"""

from __future__ import annotations

import hashlib
import http.client
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from wsss.errors import DataError, PreflightError, Problem
from wsss.files import nearest_folder

Progress = Callable[[int, int], None]
CHUNK = 1 << 18
TIMEOUT = 60.0
TRIES = 3
_TRANSIENT = (TimeoutError, ConnectionError, http.client.HTTPException)


def download(
    url: str, target: Path, size: int, md5: str, progress: Progress | None = None, *, sha256: str = ""
) -> None:
    """Download `size` bytes to `target`, which appears only when their checksum is right.

    A part stays beside it as `.part`; a later call goes on from there if the server can. Raises
    `PreflightError` when the network, the server or the disk fails, and `DataError` when the content is not
    what it should be.

    Args:
        url: of the file.
        target: where it goes.
        size: in bytes.
        md5: of the content, in hex; empty where `sha256` is given.
        progress: gets (bytes so far, size) after every chunk.
        sha256: of the content, in hex, instead.
    """
    part = target.with_name(f"{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, TRIES + 1):
        before = part.stat().st_size if part.exists() else 0
        if before > size:
            part.unlink()
            before = 0
        if before == size:
            break
        check_disk(target.parent, size - before)
        try:
            _receive(url, part, before, size, progress)
        except _TRANSIENT as error:
            if attempt == TRIES:
                raise _unreachable(url, error, part) from error
            continue
        done = part.stat().st_size
        if done == size:
            break
        if done > size:
            part.unlink()
            raise DataError(Problem(url, f"sends more than the {size} bytes it should"))
        if attempt == TRIES:
            message = f"the connection broke off at {done} of {size} bytes"
            raise PreflightError(Problem(url, message, "the same command goes on from there"))
    kind, wanted = ("MD5", md5) if md5 else ("SHA-256", sha256)
    found = _digest(part, kind)
    if found != wanted:
        part.unlink()
        message = f"the file's {kind} is {found}, but must be {wanted}"
        raise DataError(Problem(url, message, "what arrived was deleted; try again, or another `--from URL`"))
    part.replace(target)


def fetch_text(url: str, most: int) -> str:
    """Return a text of at most `most` bytes. Raises as `download` does."""
    try:
        with _open(url, 0) as response:
            content = response.read(most + 1)
    except _TRANSIENT as error:
        raise _unreachable(url, error) from error
    if len(content) > most:
        raise DataError(Problem(url, f"sends more than the {most} bytes that were expected at most"))
    return content.decode("utf-8", errors="replace")


def check_disk(folder: Path, needed: int) -> None:
    """Raise `PreflightError` when fewer than `needed` bytes are free where `folder` is, or will be."""
    free = shutil.disk_usage(nearest_folder(folder)).free
    if free < needed:
        message = f"{free / 1e9:.1f} GB are free, but {needed / 1e9:.1f} GB are needed"
        raise PreflightError(Problem(str(folder), message, "choose a folder on another disk"))


def _receive(url: str, part: Path, before: int, size: int, progress: Progress | None) -> None:
    """Append to `part`, or write it anew when the server can't go on in the middle."""
    with _open(url, before) as response:
        resumed = response.status == 206 and (response.headers["Content-Range"] or "").startswith(
            f"bytes {before}-"
        )
        if response.status == 206 and not resumed:
            found = response.headers["Content-Range"]
            raise PreflightError(Problem(url, f"was asked for bytes from {before}, but sends {found!r}"))
        done = before if resumed else 0
        with part.open("ab" if resumed else "wb") as file:
            for chunk in iter(lambda: response.read(CHUNK), b""):
                _write(file, chunk, part)
                done += len(chunk)
                if progress:
                    progress(done, size)
                if done > size:
                    return


def _write(file: BinaryIO, chunk: bytes, part: Path) -> None:
    try:
        file.write(chunk)
    except OSError as error:
        hint = "make room; the same command goes on from there"
        raise PreflightError(Problem(str(part), f"can't be written: {error.strerror}", hint)) from error


@contextmanager
def _open(url: str, start: int) -> Iterator[http.client.HTTPResponse]:
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise PreflightError(Problem(url, "must begin with http:// or https://"))
    headers = {"User-Agent": "wsss", **({"Range": f"bytes={start}-"} if start else {})}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310
            yield response
    except urllib.error.HTTPError as error:
        message = f"the server answers {error.code} {error.reason}"
        raise PreflightError(Problem(url, message, "give another address with `--from URL`")) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, _TRANSIENT):
            raise error.reason from error
        raise _unreachable(url, error.reason) from error


def _unreachable(url: str, reason: object, part: Path | None = None) -> PreflightError:
    hint = "is this machine on the network?"
    if part is not None and part.exists():
        hint += " the same command goes on from what arrived"
    return PreflightError(Problem(url, f"can't be reached: {reason}", hint))


def _digest(path: Path, kind: str) -> str:
    make = hashlib.sha256 if kind == "SHA-256" else lambda: hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        return hashlib.file_digest(file, make).hexdigest()
