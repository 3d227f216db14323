"""Who may talk to Ray on this machine: a token, in a file that its owner alone can read.

Ray's processes listen on every interface; a program that reaches them with the token runs code. Ray writes
the token's file so that every user of the machine can read it, unless the file is there already.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import uuid
from pathlib import Path
from typing import Literal

from wsss.errors import PreflightError, Problem, nearest

MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
MODES = ("token", "disabled")
OTHERS = stat.S_IRWXG | stat.S_IRWXO
Look = tuple[Literal["ok", "note", "bad"], str]


def token_file() -> Path:
    """Return the file that Ray reads its token from. Raises `RuntimeError` when there is no home folder."""
    given = os.environ.get(TOKEN_PATH)
    return Path(given) if given else Path.home() / ".ray" / "auth_token"


def has_token() -> bool:
    """Whether there is a token to show."""
    if os.environ.get(TOKEN):
        return True
    try:
        return bool(token_file().read_bytes().strip())
    except (OSError, RuntimeError):
        return False


def settle_mode() -> bool:
    """Set RAY_AUTH_MODE to "token" if it isn't set and there is a token: who has one shows it.

    Returns whether it did; Ray, which reads the variable when it is imported, has to read it again then.
    """
    if os.environ.get(MODE) or not has_token():
        return False
    os.environ[MODE] = "token"
    return True


def secure_token() -> None:
    """Make Ray ask for a token that only this user can read; call it before Ray starts in this process.

    Writes a token if there is none, and removes other users' permissions on its file. Without a writable
    home folder, the token is kept in RAY_AUTH_TOKEN of this process. Does nothing when RAY_AUTH_MODE is
    "disabled". Raises `PreflightError` for another mode, and for a RAY_AUTH_TOKEN_PATH that can't be used.
    """
    if not os.environ.get(MODE):
        os.environ.pop(MODE, None)  # Ray takes "" for disabled, and none for token
    elif os.environ[MODE].lower() not in MODES:
        raise PreflightError(Problem(MODE, f"is {os.environ[MODE]!r}", nearest(os.environ[MODE], MODES)))
    elif os.environ[MODE].lower() == "disabled":
        return
    if os.environ.get(TOKEN):
        return
    if os.environ.get(TOKEN_PATH):
        _use_given(token_file())
        return
    try:
        path = token_file()
        _write_once(path)
        _tighten(path)
    except (OSError, RuntimeError):
        os.environ[TOKEN] = secrets.token_hex(32)


def _use_given(path: Path) -> None:
    """Check the file that RAY_AUTH_TOKEN_PATH names; change only its permissions."""
    hint = f"unset {TOKEN_PATH}, or write a token there"
    try:
        if not path.read_text(encoding="utf-8").strip():
            raise PreflightError(Problem(TOKEN_PATH, f"names {path}, which is empty", hint))
        _tighten(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise PreflightError(
            Problem(TOKEN_PATH, f"names {path}, which can't be used: {reason}", hint)
        ) from error


def _write_once(path: Path) -> None:
    """Write a token if there is none. If several processes do so at once, the first one's token counts."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size:
        return
    aside = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(secrets.token_hex(32))  # as Ray makes them
            file.flush()
            os.fsync(handle)
        if path.exists():
            os.replace(aside, path)  # it is empty: Ray takes that for none
        else:
            with contextlib.suppress(FileExistsError):
                os.link(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _tighten(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & OTHERS:
        path.chmod(mode & ~OTHERS)


def look_at_mode() -> Look:
    """Check whether Ray, when it starts on this machine, asks for a token."""
    mode = os.environ.get(MODE) or "token"
    if mode.lower() == "token":
        return "ok", "Ray on this machine asks for a token"
    if mode.lower() == "disabled":
        return "note", f"{MODE}=disabled: who reaches Ray's ports runs code as you; unset it"
    return "bad", f"{MODE} is {mode!r}, but must be token, or disabled"


def look_at_token() -> Look:
    """Check that no other user can read Ray's token."""
    if os.environ.get(TOKEN):
        return "ok", f"in {TOKEN}"
    try:
        path = token_file()
        found = path.stat()
    except FileNotFoundError:
        if os.environ.get(TOKEN_PATH):
            return "bad", f"{TOKEN_PATH} names {path}, which is not there"
        return "ok", f"none yet; {path} is written, for your eyes only, when Ray starts"
    except (OSError, RuntimeError) as error:
        return "note", f"{error}: every run makes a token of its own"
    mode = stat.S_IMODE(found.st_mode)
    if mode & OTHERS:
        text = (
            f"{path} has mode {mode:04o}: who reads it runs code as you. chmod 600 {path}; `run` does so too"
        )
        return "note", text
    return "ok", f"{path}, which you alone can read"
