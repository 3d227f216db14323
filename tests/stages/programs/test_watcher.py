"""The process between a runner and a program: it tells of every end, also of one that comes at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from wsss.stages.programs.process import WATCHER

LATE = """
import runpy, subprocess, time

class Late(subprocess.Popen):
    def __init__(self, *words, **options):
        super().__init__(*words, **options)
        time.sleep(0.5)  # the program has ended before anybody looks

subprocess.Popen = Late
runpy.run_path({watcher!r}, run_name="__main__")
"""


def test_a_program_that_ends_at_once_is_told_of(tmp_path: Path) -> None:
    told, status = os.pipe()
    words = ["sh", "-c", "exit 7"]
    task = {
        "words": words,
        "folder": str(tmp_path),
        "environment": dict(os.environ),
        "grace": 1,
        "status": status,
    }
    watcher = subprocess.Popen(
        [sys.executable, "-c", LATE.format(watcher=str(WATCHER))], stdin=subprocess.PIPE, pass_fds=(status,)
    )
    os.close(status)
    assert watcher.stdin is not None
    try:
        watcher.stdin.write(json.dumps(task).encode() + b"\n")
        watcher.stdin.flush()
        watcher.wait(timeout=60)
    finally:
        watcher.kill()
        watcher.stdin.close()
    with open(told) as file:
        assert json.loads(file.read().splitlines()[-1]) == {"code": 7}
