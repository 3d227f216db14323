"""A trial on Ray gives its GPU back while what needs no network is made: the next one's network starts."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_data import TINY_DATA

from wsss.config import Study, load_study_text
from wsss.data.view import DataView, open_data
from wsss.files import files_below, sha256_file
from wsss.pipeline.events import Event, Moving, StageFinished, TrialProgress
from wsss.pipeline.executor import Job
from wsss.pipeline.local import LocalExecutor
from wsss.pipeline.search.trials import Trial, sweep_trials
from wsss.store.folder_store import Store

pytestmark = [pytest.mark.timeout(600), pytest.mark.long]
STUDY = f"""
name: beside
{TINY_DATA}
sweeps:
  - name: cam
    searcher: grid
    search: {{lr: {{choice: [0.01, 0.02]}}}}
    resources: {{cpu: 1, gpu: 1}}
    stages:
      - classifier: {{backbone: efficientnet_lite0, epochs: 1, batch: 4, crop: 64, long_side: [64, 96], rung: {{images: 0}}, lr: $lr}}
      - cams: {{scales: [1.0], size: 64}}
      - features: {{size: 64}}
"""


class Hears:
    """A listener that keeps what it was told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, object]] = []

    def started(self, job: str) -> None:
        self.told.append(("started", job, None))

    def holds(self, job: str, gpus: float) -> None:
        self.told.append(("holds", job, gpus))

    def event(self, event: Event) -> bool:
        if isinstance(event, TrialProgress | StageFinished | Moving):
            self.told.append((type(event).__name__, event.trial, event))
        return True

    def ended(self, job: str, error: str) -> None:
        assert not error, error
        self.told.append(("ended", job, None))

    def stopping(self) -> bool:
        return False

    def of(self, kind: str, job: str) -> list[object]:
        return [what for name, whose, what in self.told if (name, whose) == (kind, job)]

    def when(self, kind: str, job: str, stage: str) -> int:
        return next(
            number
            for number, (name, whose, what) in enumerate(self.told)
            if (name, whose) == (kind, job) and getattr(what, "stage", stage) == stage
        )


@pytest.fixture
def killed(cluster: None, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Kills the process that makes the first score, once, and names its trial."""
    from wsss.tuning import executor

    done: list[str] = []
    tell = executor._Callback.on_trial_result

    def told(self: Any, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        tell(self, iteration, trials, trial, result, **info)
        event = result.get("event", "")
        if not done and '"TrialProgress"' in event and '"cams.scores"' in event:
            done.append(trial.config["job"]["id"])
            os.kill(result["pid"], signal.SIGKILL)

    monkeypatch.setattr(executor._Callback, "on_trial_result", told)
    return done


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One machine that says it has a GPU, whose trials compute on the CPU all the same."""
    from wsss.tuning import executor  # sets Ray's environment first

    import ray  # isort: skip

    monkeypatch.setattr(executor, "GPU", "cpu")
    ray.init(
        address="local", num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False,
        object_store_memory=2**27, _node_ip_address="127.0.0.1",
    )  # fmt: skip
    yield
    ray.shutdown()


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return load_study_text(STUDY, source="s.yaml", base=tmp_path, storage=str(tmp_path / "runs"))


def trials_of(study: Study) -> tuple[list[Trial], DataView]:
    data = open_data(study.data, storage=Path(study.storage))
    return sweep_trials(study, study.sweeps[0], (), data), data


def test_the_next_trials_network_starts_while_the_first_is_scored(
    study: Study, killed: list[str], tmp_path: Path
) -> None:
    from wsss.tuning.executor import RayExecutor

    trials, data = trials_of(study)
    hears = Hears()
    jobs = [Job(trial.info.id, trial.chain, (trial,)) for trial in trials]
    RayExecutor(study, None, data).run(jobs, study.sweeps[0].resources, hears)

    ids = [trial.info.id for trial in trials]
    first, second = sorted(ids, key=lambda id: hears.when("TrialProgress", id, "classifier"))
    began = hears.when("TrialProgress", second, "classifier")
    assert (
        hears.when("StageFinished", first, "cams") < began < hears.when("StageFinished", first, "cams.scores")
    )
    for trial in trials:
        finished = [
            event for event in hears.of("StageFinished", trial.info.id) if isinstance(event, StageFinished)
        ]
        labels = [node.label for node in trial.chain.nodes]
        assert [event.stage for event in finished if not event.cached] == labels, (
            "each is made once, in order"
        )
        moved = [
            (event.stage, event.gpu)
            for event in hears.of("Moving", trial.info.id)
            if isinstance(event, Moving)
        ]
        assert moved == [("cams.scores", False), ("features", True)]
        held = hears.of("holds", trial.info.id)
        assert [held[0], held[-1], held.count(1.0)] == [1.0, 1.0, 2] and 0.0 in held
    assert killed == [first], "its process was killed while it scored, and another went on"
    assert sum(name == "ended" for name, *_ in hears.told) == 2

    alone = LocalExecutor(Store(tmp_path / "calm"), data)
    alone.run(jobs, study.sweeps[0].resources.model_copy(update={"gpu": 0.0}), Hears())
    assert artefacts(tmp_path / "runs/store") == artefacts(tmp_path / "calm"), "the same files as in one go"


def artefacts(store: Path) -> dict[str, str]:
    kinds = (".safetensors", ".npz", ".png", "scores.json")
    return {
        name: sha256_file(store / name)
        for name in files_below(store)
        if name.endswith(kinds) and name[2] == "/"
    }
