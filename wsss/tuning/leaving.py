"""Stops Ray on a worker whose head is gone: `ray down` stops the head alone, and a lost head comes back
without its workers.

    python -m wsss.tuning.leaving HEAD:PORT
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

LOOK_SECONDS = 0.5
PATIENCE = 3.0
"""Seconds without an answer after which the head counts as gone; the head counts a node out after as many."""


def wait_until_gone(address: str, *, look: float = LOOK_SECONDS, patience: float = PATIENCE) -> None:
    """Return when nothing has taken a connection at `address` (HOST:PORT) for `patience` seconds."""
    host, _, port = address.rpartition(":")
    heard = time.monotonic()
    while time.monotonic() - heard < patience:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=patience).close()
            heard = time.monotonic()
        except OSError:
            pass
        time.sleep(look)


def leave(address: str, stop: Callable[[], object]) -> None:
    """Wait until the head at `address` is gone, and stop this node."""
    wait_until_gone(address)
    stop()


def _stop_ray() -> None:
    subprocess.run([str(Path(sys.executable).with_name("ray")), "stop", "--force"], check=False)


if __name__ == "__main__":
    leave(sys.argv[1], _stop_ray)
