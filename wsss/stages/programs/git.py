"""Asking git about a folder: nothing that lies in a repository runs, and no other repository answers."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_GIT = ("git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "safe.directory=*")


def ask_git(folder: Path, *words: str, seconds: float) -> subprocess.CompletedProcess[bytes]:
    """Run git in a folder and return what it answers.

    Raises `FileNotFoundError` without git, and `subprocess.TimeoutExpired`.

    Args:
        folder: in a repository, or not.
        words: the command and its arguments.
        seconds: that it may take.
    """
    environment = {"PATH": os.environ.get("PATH", os.defpath), "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    return subprocess.run(
        [*_GIT, "-C", str(folder), *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=seconds,
        env=environment,
    )
