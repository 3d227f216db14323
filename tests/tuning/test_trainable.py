"""The trainable without actors around it: what it does before its first step, and between two trials."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wsss.errors import StorageError
from wsss.pipeline.events import Moving, StageWaiting
from wsss.tuning.trials import trainable as module
from wsss.tuning.trials.trainable import ERROR, EVENT, STORAGE, ChainTrainable, event_from_json


def config(storage: Path, id: str = "one") -> dict[str, Any]:
    data = {"dataset": "voc", "root": str(storage / "nothing")}
    job = {"id": id, "chain": [], "storage": str(storage), "data": data, "gpu": 0}
    part = {"side": None, "asked": {"cpu": 1, "gpu": 0}, "reported": []}
    return {"job": {**job, "device": "cpu", "threads": 1, "workers": 1, **part}}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What chains without stages did, which go on for ever."""
    done: list[str] = []

    def chain(trial: str, *rest: Any, **more: Any) -> Iterator[StageWaiting]:
        done.append(f"{trial} begins")
        try:
            while True:
                yield StageWaiting(trial, "cams", "key", "somebody")
        finally:
            done.append(f"{trial} is closed")
            if trial == "full":
                raise StorageError("the disk is full")

    monkeypatch.setattr(module, "run_chain", chain)
    monkeypatch.setattr(ChainTrainable, "_open", lambda self, spec, folder: None)
    monkeypatch.setenv("RAY_CHDIR_TO_TRIAL_DIR", "0")
    return done


def test_data_that_is_missing_is_the_first_steps_error(tmp_path: Path) -> None:
    trial = ChainTrainable(config(tmp_path))
    result = trial.train()
    assert result["done"] and not result[STORAGE]
    assert result[ERROR].startswith(f"{tmp_path}/nothing: ")
    trial.stop()


def test_before_its_first_step_it_can_be_saved_reset_and_stopped(told: list[str], tmp_path: Path) -> None:
    trial = ChainTrainable(config(tmp_path))
    saved = trial.save(str(tmp_path / "saved"))
    assert saved.metrics == {}
    trial.restore(str(tmp_path / "saved"))
    assert trial.reset(config(tmp_path, "two"))
    assert told == []
    assert event_from_json(trial.train()[EVENT]).trial == "two"
    assert told == ["two begins"]
    trial.stop()
    assert told == ["two begins", "two is closed"]
    ChainTrainable(config(tmp_path)).stop()


def test_the_next_trial_closes_the_one_before_and_a_failing_storage_is_told_as_such(
    told: list[str], tmp_path: Path
) -> None:
    trial = ChainTrainable(config(tmp_path, "one"))
    trial.train()
    assert trial.reset(config(tmp_path, "full")) and trial.reset(config(tmp_path, "full"))
    trial.train()
    assert told == ["one begins", "one is closed", "full begins"]
    assert trial.reset(config(tmp_path, "three")), "an error here would be final for trial three"
    result = trial.train()
    assert (result["done"], result[ERROR], result[STORAGE]) == (True, "the disk is full", True)


def test_a_part_on_cpus_neither_waits_for_a_gpu_nor_tells_what_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    def chain(trial: str, *rest: Any, **more: Any) -> Iterator[Moving]:
        given.append((more["side"], more["reported"]))
        yield Moving(trial, "affinity", gpu=True, reported=("cams",))

    monkeypatch.setattr(module, "run_chain", chain)
    monkeypatch.setattr(module, "prepare_gpu", lambda gpus: iter(["for nobody"]))
    monkeypatch.setattr(ChainTrainable, "_open", lambda self, spec, folder: None)
    asked = config(tmp_path)
    asked["job"] |= {"device": "cuda", "gpu": 1.0, "side": "cpu", "reported": ["classifier"]}
    trial = ChainTrainable(asked)
    assert event_from_json(trial.train()[EVENT]) == Moving("one", "affinity", gpu=True, reported=("cams",))
    assert given == [("cpu", ["classifier"])]
    trial.stop()


def test_a_trial_that_waits_for_its_gpu_says_so(
    told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wsss.pipeline.events import GpuWaiting

    monkeypatch.setattr(module, "prepare_gpu", lambda gpus: iter(["for others", "no longer"]))
    given = config(tmp_path)
    given["job"] |= {"device": "cuda", "gpu": 1.0, "side": "gpu"}
    trial = ChainTrainable(given)
    first, second, third = (event_from_json(trial.train()[EVENT]) for _ in range(3))
    assert (first, second) == (GpuWaiting("one", "for others"), GpuWaiting("one", "no longer"))
    assert isinstance(third, StageWaiting)
    trial.stop()
    assert told == ["one begins", "one is closed"]
