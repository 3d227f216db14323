"""Processes that we start don't run the user's script again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
from multiprocessing import parent_process
print("the script runs", flush=True)
{work}
"""
POOL = """
from wsss.data.pool import ImagePool
import math
pool = ImagePool(2)
print(pool.map(math.sqrt, [(4,), (9,)]))
pool.close()
"""
GROUP = """
from wsss.processes import Spawned
import operator
process = Spawned().Process(target=operator.add, args=(1, 2))
process.start(); process.join(); print("exit", process.exitcode)
"""


@pytest.mark.parametrize(
    ("work", "answer"), [(POOL, "[2.0, 3.0]"), (GROUP, "exit 0")], ids=["pool", "spawned"]
)
def test_a_script_without_a_main_guard_runs_once(tmp_path: Path, work: str, answer: str) -> None:
    script = tmp_path / "my_script.py"
    script.write_text(SCRIPT.format(work=work))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, ["the script runs", answer], "")


def test_what_a_program_started_keeps_its_own_main_module() -> None:
    from wsss.processes import Spawned

    before = sys.modules["__main__"]
    process = Spawned().Process(target=sum, args=([1, 2],))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert sys.modules["__main__"] is before
