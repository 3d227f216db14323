"""What joining Ray leaves as it was."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os, signal

def told(number, frame):
    raise KeyboardInterrupt

signal.signal(signal.SIGTERM, told)
from wsss.tuning.joining.cluster import connect

connect(None)
try:
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()
except KeyboardInterrupt:
    print("told")
"""


@pytest.mark.timeout(120)
def test_sigterm_is_still_answered_by_the_process_after_it_joined_ray() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (0, "told\n"), done.stderr[-2000:]
    assert "SIGTERM" not in done.stderr
