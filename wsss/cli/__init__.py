"""The command line: one verb a file. Heavy libraries are imported when a verb runs, not before."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line and exit with 0 (done), 1 (a trial failed), 2 (wrong input), 3 (wrong
    environment) or 130 (interrupted, or a budget is used up; `resume` goes on)."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from wsss.addresses import scrub
    from wsss.cli.app import app
    from wsss.errors import WsssError
    from wsss.temporary import shorten

    try:
        shorten()
        app()
    except WsssError as error:
        print(scrub(f"error: {error}"), file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        # Disks fill and mounts vanish; the message names the file, a traceback would bury it.
        print(scrub(f"error: {error.filename or ''}: {error.strerror or error}"), file=sys.stderr)
        sys.exit(3)
