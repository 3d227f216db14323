"""A folder for sockets that is short enough: a socket's path has room for 107 bytes, a batch system's TMPDIR
may need more. Processes that talk through one then fail, or wait for each other for ever."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import Literal

from wsss.errors import PreflightError, Problem

LONGEST = 36
"""Bytes of a temporary folder's path at most. Ray adds the longest: its session, named by date, time and
process, and `sockets/plasma_store`."""
SHORT = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - a folder of our own is made in one of them
WAY_OUT = "set RAY_TMPDIR=/tmp, or another short folder that can be written"


def shorten() -> None:
    """Point TMPDIR to a short folder if it is too long for sockets, or can't be written, and there is one."""
    try:
        folder = tempfile.gettempdir()
    except OSError:
        folder = ""
    if not folder or not _is_short(folder):
        folder = own_folder() or folder
        tempfile.tempdir = folder or None
    if folder and os.environ.get("TMPDIR", SHORT[0]) != folder:
        os.environ["TMPDIR"] = folder  # processes that are started from here go there too


def shorten_for_ray() -> None:
    """See to it that Ray, when started here, finds a short folder that it can write to.

    Raises `PreflightError` when RAY_TMPDIR names one that isn't, and when there is none.
    """
    shorten()
    given = os.environ.get("RAY_TMPDIR")
    if not given:
        place = os.environ.get("TMPDIR") or SHORT[0]
        if _is_short(place) and _takes(Path(place) / "ray"):
            return
        own = own_folder()  # of /tmp, another user may have taken `ray`
        if not own:
            message = f"none of {', '.join(SHORT)} can be written, and Ray's sockets need a short folder"
            raise PreflightError(Problem("TMPDIR", message, WAY_OUT))
        os.environ["RAY_TMPDIR"] = own
        return
    if not _is_short(given):
        message = f"is {len(os.fsencode(given))} bytes long, but Ray's sockets leave it {LONGEST}"
        raise PreflightError(Problem("RAY_TMPDIR", message, WAY_OUT))
    if not _takes(Path(given) / "ray"):
        raise PreflightError(Problem("RAY_TMPDIR", f"is {given!r}, which can't be written", WAY_OUT))


def look_at_temporary_folder() -> tuple[Literal["ok", "note", "bad"], str]:
    """Say whether sockets fit into the folder of temporary files, for `doctor`."""
    given = os.environ.get("RAY_TMPDIR")
    folder = given or tempfile.gettempdir()
    if not _is_short(folder):
        return "bad", f"{folder} is longer than {LONGEST} bytes: {WAY_OUT}"
    return "ok", folder


def _is_short(folder: str) -> bool:
    return len(os.fsencode(folder)) <= LONGEST


def _takes(folder: Path) -> bool:
    """Whether files can be written to a folder, which is made if it isn't there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def own_folder() -> str:
    """Return a short folder that this user alone can use; "" when none can be made."""
    user = os.getuid()
    for parent in (*SHORT, os.environ.get("XDG_RUNTIME_DIR", "")):
        path = Path(parent) / f"wsss-{user}"
        if not parent or not _is_short(str(path)):
            continue
        try:
            path.mkdir(mode=0o700, exist_ok=True)
            found = path.lstat()
        except OSError:
            continue
        # Others may write to the parent: what they put there in our name is not used.
        own = stat.S_ISDIR(found.st_mode) and found.st_uid == user and not found.st_mode & 0o077
        if own and _takes(path):
            return str(path)
    return ""
