"""The parts of a trial with a GPU, as the driver hands them to Ray: no cluster is started."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import toys

from wsss.config import Resources
from wsss.pipeline.chains.chain import Chain, Part, build_chain
from wsss.pipeline.chains.execute import run_chain
from wsss.pipeline.events import Moving
from wsss.store.folder_store import Store
from wsss.tuning.listening import ListeningScheduler
from wsss.tuning.trials.parts import first_part, held_gpus, next_part
from wsss.tuning.trials.trainable import EVENT, ChainTrainable

from ray.tune.experiment import Trial  # isort: skip

A100 = Resources(cpu=4, gpu=1, accelerator="A100")
WHOLE = {"cpu": 4, "gpu": 1, "accelerator_type:A100": 0.001}


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> Chain:
    monkeypatch.setattr(toys.SinkKind, "place", "serial")
    data = toys.install(monkeypatch)
    parts = [Part("source", "source", toys.ToyParams()), Part("sink", "sink", toys.ToyParams())]
    return build_chain(parts, data, 0)


def test_a_trial_without_a_gpu_has_one_part(chain: Chain, tmp_path: Path) -> None:
    part = first_part(chain, Resources(cpu=2), Store(tmp_path))
    assert part == {
        "side": None,
        "asked": {"cpu": 2, "gpu": 0},
        "whole": {"cpu": 2, "gpu": 0},
        "reported": [],
    }


def test_it_begins_where_there_is_something_to_make(chain: Chain, tmp_path: Path) -> None:
    """A study that is resumed for want of scores alone asks for no GPU."""
    store = Store(tmp_path)
    part = first_part(chain, A100, store)
    assert (part["side"], part["asked"]) == ("gpu", WHOLE)
    data: Any = SimpleNamespace(has_masks=False, image_key=lambda ids: "images")
    list(run_chain("t", chain, store, data, device="cpu", threads=1, side="gpu"))
    assert first_part(chain, A100, store)["asked"] == {"cpu": 4}
    list(run_chain("t", chain, store, data, device="cpu", threads=1))
    assert first_part(chain, A100, store)["asked"] == {"cpu": 4}


class Controller:
    """Stands in for Ray's: keeps what is asked of it."""

    def __init__(self, *trials: Any) -> None:
        self.trials = trials

    def get_trials(self) -> Any:
        return self.trials

    def pause_trial(self, trial: Any, should_checkpoint: bool) -> None:
        assert not should_checkpoint
        trial.status = Trial.PAUSED


class Waiting(SimpleNamespace):
    status = Trial.RUNNING

    def set_config(self, config: Any) -> None:
        self.config = config

    def update_resources(self, asked: Any) -> None:
        assert self.status == Trial.PAUSED, "Ray refuses it of one that runs"
        self.asked = asked


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_trial_that_moves_is_paused_unless_it_is_stopped(
    chain: Chain, tmp_path: Path, goes_on: bool
) -> None:
    held: list[tuple[str, float]] = []
    listener: Any = SimpleNamespace(
        event=lambda event: goes_on, holds=lambda job, gpus: held.append((job, gpus))
    )
    job = {"id": "t", "chain": chain.to_json(), **first_part(chain, A100, Store(tmp_path))}
    assert held_gpus(job) == 1.0
    trial = Waiting(config={"job": job})
    errors: list[Exception] = []
    scheduler = ListeningScheduler(listener, errors.append)
    result = {
        EVENT: '{"type": "Moving", "trial": "t", "stage": "sink", "gpu": false, "reported": ["source"]}'
    }
    decision = scheduler.on_trial_result(Controller(), trial, result)
    assert not errors
    if not goes_on:
        assert (decision, held, trial.status) == ("STOP", [], Trial.RUNNING)
        return
    assert (decision, held) == ("NOOP", [("t", 0.0)])
    after = trial.config["job"]
    assert (after["side"], after["asked"], after["reported"]) == ("cpu", {"cpu": 4}, ["source"])
    assert trial.asked == {"cpu": 4} and held_gpus(after) == 0.0
    back = next_part(after, Moving("t", "source", gpu=True, reported=("source",)))
    assert (back["side"], back["asked"]) == ("gpu", WHOLE)
    placed = ChainTrainable.default_resource_request({"job": back})
    assert placed.required_resources == {"CPU": 4, "GPU": 1, "accelerator_type:A100": 0.001}


def test_one_that_waits_for_its_next_part_goes_before_those_that_have_not_begun() -> None:
    fresh, moved, ended = (
        Waiting(status=Trial.PENDING),
        Waiting(status=Trial.PAUSED),
        Waiting(status="TERMINATED"),
    )
    scheduler = ListeningScheduler(SimpleNamespace(), lambda error: None)  # type: ignore[arg-type]
    assert scheduler.choose_trial_to_run(Controller(ended, fresh, moved)) is moved
    assert scheduler.choose_trial_to_run(Controller(ended, fresh)) is fresh
    assert scheduler.choose_trial_to_run(Controller(ended)) is None
