"""Runs on a real (one-machine) Ray cluster: the same numbers as locally, whatever is killed on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from command_line import in_process
from mlflow.tracking import MlflowClient

from wsss.files import files_below, sha256_file

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(600)


def command(*words: object) -> list[str]:
    return [sys.executable, str(ROOT / "launch.py"), *map(str, words)]


def table(storage: Path) -> dict[str, Any]:
    done = in_process("compare", "tiny", "--storage", storage, "--format", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    for row in found["rows"]:
        assert row.pop("masks"), "where masks lie is each storage's own affair"
        assert row["tried"].pop("hours") > 0
    for row in found["table"]:
        assert row["arm"] == "floor" or row.pop("hours") > 0
    return found


def artefacts(storage: Path) -> dict[str, str]:
    """The SHA-256 of every tensor, map, mask and count in the store.

    Records hold times, and runs in the test's own process draw fewer photos.
    """
    store = storage / "store"
    return {
        name: sha256_file(store / name)
        for name in files_below(store)
        if name.endswith((".safetensors", ".npz", ".npy", ".png", "scores.json"))
        and name[2] == "/"
        and not name.endswith("overlays.png")
    }


def mlflow_runs(storage: Path) -> list[tuple[str, str, bool, dict[str, str], dict[str, float]]]:
    """Name, status, whether nested, parameters and last metrics of every MLflow run of the study."""
    client = MlflowClient(f"sqlite:///{storage}/mlflow.db")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    timeless = ("seconds", "hours", "system/")
    return sorted(
        (
            str(run.info.run_name),
            run.info.status,
            "mlflow.parentRunId" in run.data.tags,
            run.data.params,
            {k: v for k, v in run.data.metrics.items() if not any(word in k for word in timeless)},
        )
        for run in runs
    )


@pytest.fixture(scope="module")
def study_file(tiny_study_text: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "tiny.yaml"
    path.write_text(tiny_study_text)
    return path


@pytest.fixture(scope="module")
def calm(finished_study: Path) -> Path:
    """The storage of an undisturbed local run of the same study."""
    return finished_study / "runs"


@pytest.mark.long
def test_ray_makes_the_files_the_table_and_the_mlflow_runs_of_a_local_run(
    calm: Path, study_file: Path
) -> None:
    storage = study_file.parent / "ray"
    done = subprocess.run(
        command("run", study_file, "--storage", storage), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert artefacts(storage) == artefacts(calm)
    assert len(artefacts(calm)) > 20
    assert table(storage) == table(calm)
    runs = mlflow_runs(calm)
    assert mlflow_runs(storage) == runs
    assert all(status == "FINISHED" for _, status, *_ in runs)
    assert [nested for _, _, nested, *_ in runs].count(False) == 3, (
        "one parent run a sweep, and one of the study"
    )


def run_until(words: list[str], seen: Callable[[str], bool], log: Path) -> bool:
    """Start a command and kill -9 its driver once its output satisfies `seen`; False if it ended before."""
    with log.open("w") as stream:
        process = subprocess.Popen(words, stdout=stream, stderr=stream, start_new_session=True)
        try:
            while process.poll() is None:
                if seen(log.read_text()):
                    os.kill(process.pid, signal.SIGKILL)
                    process.wait()
                    return True
                time.sleep(0.02)
            return False
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.fault
def test_kill_9_at_three_moments_then_resume_is_as_if_nothing_had_happened(
    calm: Path, study_file: Path, tmp_path: Path
) -> None:
    storage = tmp_path / "killed"
    moments = [
        lambda text: "  classifier  2/3" in text,
        lambda text: text.count("cams  made in") >= 1,
        lambda text: "pseudo_masks  made in" in text or "  pseudo_masks  " in text,
    ]
    words = command("run", study_file, "--storage", storage)
    for number, moment in enumerate(moments):
        killed = run_until(words, moment, tmp_path / f"log-{number}")
        assert killed, (tmp_path / f"log-{number}").read_text()[-2000:]
        words = command("resume", "tiny", "--storage", storage)
    before = set(artefacts(storage))
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert before, "what had been finished before the kills was kept"
    assert artefacts(storage) == artefacts(calm)
    assert table(storage) == table(calm)
    assert mlflow_runs(storage) == mlflow_runs(calm), "no run is doubled, none is left open"


@pytest.mark.fault
def test_a_killed_trial_process_is_started_again_and_goes_on(
    calm: Path, study_file: Path, tmp_path: Path
) -> None:
    storage, log = tmp_path / "worker", tmp_path / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            command("run", study_file, "--storage", storage), stdout=stream, stderr=stream
        )
        try:
            victim = None
            while victim is None and process.poll() is None:
                if "  classifier  1/3" in log.read_text():
                    victim = _trial_process(process.pid)
                time.sleep(0.02)
            assert victim is not None, log.read_text()[-2000:]
            os.kill(victim, signal.SIGKILL)
            assert process.wait(timeout=300) == 0, log.read_text()[-2000:]
        finally:
            if process.poll() is None:
                process.kill()
    assert artefacts(storage) == artefacts(calm)
    assert table(storage) == table(calm)
    assert mlflow_runs(storage) == mlflow_runs(calm)


def _trial_process(driver: int) -> int | None:
    """The process id of a Ray actor that runs a chain for this driver."""
    for child in psutil.Process(driver).children(recursive=True):
        if "ChainTrainable" in " ".join(child.cmdline()):
            return child.pid
    return None
