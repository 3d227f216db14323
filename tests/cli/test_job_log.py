"""What a job prints is in its study's folder, at once and to its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import os, sys, time
from types import SimpleNamespace
from pathlib import Path
from wsss.cli.running.job_log import keep_job_log

keep_job_log(SimpleNamespace(name="tiny", storage=Path(sys.argv[1])))
print("first", flush=True)
os.system("echo of a program")
print("error", file=sys.stderr)
if len(sys.argv) > 2:
    time.sleep(60)
print("last")
sys.exit(3)
"""
JOB = {"RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps({"metadata": {"job_submission_id": "raysubmit_1"}})}


def test_all_that_a_job_prints_is_kept_and_its_exit_code_stays(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, env={**os.environ, **JOB}, capture_output=True, text=True, timeout=60)
    log = tmp_path / "studies/tiny/logs/raysubmit_1.log"
    assert done.returncode == 3
    assert (
        log.read_text().splitlines() == ["first", "of a program", "error", "last"] == done.stdout.splitlines()
    )


def test_what_a_killed_job_printed_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "studies/tiny/logs/raysubmit_1.log"
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), "wait"]
    with subprocess.Popen(command, env={**os.environ, **JOB}, stdout=subprocess.DEVNULL) as job:
        until = time.monotonic() + 60
        while not (log.exists() and "error" in log.read_text()):
            assert time.monotonic() < until
            time.sleep(0.05)
        job.kill()
    assert log.read_text().splitlines() == ["first", "of a program", "error"]


def test_what_is_no_job_keeps_no_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3 and done.stderr == "error\n" and not (tmp_path / "studies").exists()
