"""What costs seconds and is only read: one worker of the suite makes it, all others use it."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

DONE = ".done"


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return the folder of that name, filled by `make` in whichever worker asks first.

    Later workers wait for it. After an error the folder is deleted, and the next worker tries again.
    """
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # each has a folder of its own below that of the run
        root = root.parent
    folder = root / f"once-{name}"
    with (root / f"once-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / DONE).exists():
            folder.mkdir()
            try:
                make(folder)
                (folder / DONE).touch()
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
    return folder
