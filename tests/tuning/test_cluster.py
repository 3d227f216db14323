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


def test_a_ray_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that is too busy Ray raises a bare `Exception`, of several lines for some addresses."""
    from wsss.errors import PreflightError
    from wsss.tuning.joining import cluster

    def init(**options: object) -> None:
        raise Exception("The current node timed out during startup.\n  Some of it failed")

    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(cluster.ray, "init", init)
    monkeypatch.setattr(cluster, "secure_token", lambda: None)
    with pytest.raises(
        PreflightError, match=r"can't reach or start Ray: .* startup. Some of .*--local"
    ) as told:
        cluster.connect("local")
    assert len(str(told.value).splitlines()) == 1
