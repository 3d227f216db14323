"""The command line: one verb a file. Heavy libraries are imported when a verb runs, not before."""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from typing import Any

NOBODYS_FILE = (errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL)
"""What a file system says of paths that no file can have: the input is wrong, not the machine."""


def main() -> None:
    """Run the command line and exit with 0 (done), 1 (a trial failed), 2 (wrong input), 3 (wrong
    environment) or 130 (interrupted, or a budget is used up; `resume` goes on)."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    for stream in (sys.stdout, sys.stderr):
        # Not every terminal has Δ, and names of files may hold bytes that are no text.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    from wsss.cli.app import app
    from wsss.temporary import shorten

    try:
        shorten()
        code = app(standalone_mode=False)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        sys.exit(_tell_usage(error) if hasattr(error, "format_message") else _tell(error))
    if isinstance(code, int) and code:
        sys.exit(code)


def _tell_usage(error: Any) -> int:
    """Print what is wrong with the words of the command line, and return the exit code: typer would repeat
    them, secrets and all."""
    from typer.rich_utils import rich_format_error

    from wsss.addresses import scrub
    from wsss.errors import LONGEST_PROBLEM, shortened

    if getattr(error, "message", None):
        error.message = shortened(scrub(str(error.message).replace("Value error, ", "")), LONGEST_PROBLEM)
    rich_format_error(error)
    return int(error.exit_code)


def _tell(error: Exception) -> int:
    """Print what an error says, in one message, and return the exit code: the one place where they end."""
    from wsss.addresses import scrub
    from wsss.errors import TRACEBACK_VARIABLE, Problem, WsssError, unexpected

    if os.environ.get(TRACEBACK_VARIABLE):
        traceback.print_exception(error)
    if isinstance(error, WsssError):
        print(scrub(f"error: {error}"), file=sys.stderr)
        return error.exit_code
    if isinstance(error, OSError):
        # Disks fill and mounts vanish; the message names the file, a traceback would bury it.
        where = error.filename if isinstance(error.filename, str) else ""
        print(scrub(f"error: {Problem(where, error.strerror or str(error))}"), file=sys.stderr)
        return 2 if error.errno in NOBODYS_FILE else 3
    print(scrub(f"error: {unexpected(error)}"), file=sys.stderr)
    rooms = {frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)}
    return 2 if any(str(room).startswith("wsss.config.") for room in rooms) else 1
