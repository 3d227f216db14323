"""Paths that a study file or a command line names: absolute, and such as a file system can hold."""

from __future__ import annotations

import os
import re
from pathlib import Path

from wsss.errors import quoted

LONGEST_PATH, LONGEST_PART = 4000, 255
"""Bytes that a file system takes, of a whole path and of a name in it."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def check_path(path: str | Path) -> str | None:
    """Return what makes a path one that no file can have, None when nothing does."""
    text = str(path)
    try:
        size = len(os.fsencode(text))
        parts = [len(os.fsencode(part)) for part in text.split("/")]
    except UnicodeEncodeError:
        return f"is {quoted(text)}, which no file system can write"
    if odd := _CONTROL.search(text):
        return f"is {quoted(text)}, but paths have no control characters (U+{ord(odd[0]):04X})"
    if size > LONGEST_PATH or max(parts) > LONGEST_PART:
        return f"is {quoted(text)}, which is longer than a path can be"
    return None


def absolute(path: str | Path, base: Path | None = None) -> Path:
    """Return a path made absolute: `~` is a home, what is relative belongs to `base` or the working folder.

    Links are followed as far as they lead. Raises `ValueError` for a path that can't be.
    """
    if message := check_path(path):
        raise ValueError(message)
    try:
        whole = Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"is {quoted(str(path))}, but nobody of that name has a home here") from error
    # Unlike Path.resolve, realpath follows links in a circle to no end and without an error.
    whole = Path(os.path.realpath(whole if base is None else base / whole))
    if message := check_path(whole):
        raise ValueError(message)
    return whole
