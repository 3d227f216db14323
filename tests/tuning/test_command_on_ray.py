"""A program of somebody else on Ray: the same artefact as locally, and none left when its worker is killed."""

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
from tiny_data import tiny_data
from toy_program import RUN, TOY

from wsss.config import load_study_text
from wsss.data.view import open_data
from wsss.pipeline.events import StageSaid, TrialProgress
from wsss.pipeline.search.trials import sweep_trials
from wsss.store.folder_store import Store
from wsss.store.storage import open_storage
from wsss.tuning.trials.trainable import ERROR, EVENT, ChainTrainable, event_from_json

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(1200)
STUDY = (
    f"name: foreign\n{tiny_data(8, 4)}"
    + """\
sweeps:
  - name: cam
    stages:
      - command:
          makes: cams
          run: [RUN, --pause, 2, --epochs, 4, --note, NOTE]
          folder: TOY
          supervision: [image]
          progress: {pattern: 'epoch (?P<step>.*)/4 loss (?P<loss>.*)', steps: 4}
""".replace("RUN", RUN)
)


def words(folder: Path, *more: str) -> list[str]:
    launcher = str(ROOT / "launch.py")
    return [sys.executable, launcher, "run", str(folder / "s.yaml"), "--allow-commands", *more]


def test_the_trainable_tells_what_a_program_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without actors around it: every event goes through JSON, and a stopped trial leaves no program."""
    monkeypatch.setenv("RAY_CHDIR_TO_TRIAL_DIR", "0")
    note = tmp_path / "note"
    text = STUDY.replace("NOTE", str(note)).replace("TOY", str(TOY)).replace("--pause, 2", "--pause, 0.3")
    study = load_study_text(text, source="s.yaml", base=tmp_path, storage=str(tmp_path / "runs"))
    storage = open_storage(study.storage)
    data = open_data(study.data, storage=storage.local)
    chain = sweep_trials(study, study.sweeps[0], [], data)[0].chain
    job = {
        "id": "t",
        "chain": chain.to_json(),
        "storage": str(study.storage),
        "device": "cpu",
        "gpu": 0,
        "data": study.data.model_dump(mode="json"),
        "threads": 1,
        "workers": 1,
        "side": None,
        "reported": [],
    }
    stopped = ChainTrainable({"job": json.loads(json.dumps(job))})
    while not isinstance(event_from_json(stopped.train()[EVENT]), TrialProgress):
        continue
    stopped.stop()
    assert not psutil.pid_exists(int(note.read_text().split()[0]))
    trial, told = ChainTrainable({"job": job}), []
    while EVENT in (result := trial.train()):
        told.append(event_from_json(result[EVENT]))
    assert result["done"] and not result.get(ERROR)
    steps = [event.step for event in told if isinstance(event, TrialProgress) and event.stage == "command"]
    assert steps[-4:] == [2, 3, 4, 5] and any(isinstance(event, StageSaid) for event in told)
    trial.stop()


def digests(storage: Path) -> dict[str, str]:
    return {one.stage: one.digest for one in Store(storage / "store") if one.stage == "command"}


def wait_for(condition: Callable[[], Any], seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


@pytest.mark.long
def test_killed_with_its_worker_it_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    note = tmp_path / "note"
    (tmp_path / "s.yaml").write_text(STUDY.replace("NOTE", str(note)).replace("TOY", str(TOY)))
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    run = subprocess.Popen(
        words(tmp_path, "--storage", str(tmp_path / "ray")),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert wait_for(lambda: note.exists() or run.poll() is not None, 500) and note.exists(), (
            "it never started"
        )
        first = psutil.Process(int(note.read_text().split()[0]))
        worker = first.parents()[1]  # its watcher's parent
        assert "Trainable" in " ".join([worker.name(), *worker.cmdline()])
        assert wait_for(lambda: list(tmp_path.glob("ray/store/partial/*/step-*")), 60)
        assert wait_for(lambda: list(tmp_path.rglob("state.json")), 60), "it has left nothing in {work}"
        worker.send_signal(signal.SIGKILL)
        assert wait_for(lambda: not first.is_running() or first.status() == psutil.STATUS_ZOMBIE, 20)
        output, _ = run.communicate(timeout=400)
    finally:
        run.kill()
    assert run.returncode == 0, output
    assert len(note.read_text().split()) == 2, "it was started again"
    (log,) = tmp_path.glob("ray/store/??/*/program.log")
    assert "epoch 1/4" not in log.read_text(), "what was in {work} was there again"
    done = subprocess.run(
        words(tmp_path, "--local", "--storage", str(tmp_path / "local")), env=environment, capture_output=True
    )
    assert done.returncode == 0
    assert digests(tmp_path / "ray") == digests(tmp_path / "local") != {}
