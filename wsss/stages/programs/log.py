"""What a program writes, in files of a bounded size: its beginning and its end."""

from __future__ import annotations

import threading
from pathlib import Path

HEAD, HALF = 2**18, 3 * 2**17
"""Bytes that are kept of the beginning, and of each half of the end."""
LEFT_OUT = b"\n[... left out ...]\n"


class Log:
    """Takes everything, keeps at most a megabyte: `path`, and beside it the end of what is longer.

    The end is written in two halves: a full one takes the place of the one before it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._older, self._newer, self._gap = _ends(path)
        for old in (path, self._older, self._newer, self._gap):
            old.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb", buffering=0)
        self._left = HEAD
        self._lock = threading.Lock()

    def write(self, content: bytes) -> None:
        """Add bytes, without waiting for the disk. Raises `OSError`."""
        with self._lock:
            while content and not self._file.closed:
                part, content = content[: self._left], content[self._left :]
                self._file.write(part)
                self._left -= len(part)
                if not self._left:
                    self._file.close()
                    if self._older.exists():
                        self._gap.touch()
                    if self._newer.exists():
                        self._newer.replace(self._older)
                    self._file, self._left = self._newer.open("wb", buffering=0), HALF

    def close(self) -> None:
        with self._lock:
            self._file.close()


def joined(path: Path) -> bytes:
    """Return a log's beginning and end, with a line between where something is left out."""
    older, newer, gap = _ends(path)
    head, *end = [one.read_bytes() if one.exists() else b"" for one in (path, older, newer)]
    return head + (LEFT_OUT if gap.exists() else b"") + b"".join(end)


def _ends(path: Path) -> tuple[Path, Path, Path]:
    return path.with_suffix(".end-1"), path.with_suffix(".end-2"), path.with_suffix(".gap")
