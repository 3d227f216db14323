"""With files deleted as by default: what a trial had finished before it failed is there when it is tried again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import toy_studies as toy

from wsss.pipeline.events import StageFinished
from wsss.pipeline.local import LocalExecutor
from wsss.pipeline.outcome import Outcome
from wsss.pipeline.past.retention import evict_unkept, wanted_keys
from wsss.pipeline.study import StudyRun
from wsss.store.folder_store import Store
from wsss.store.storage import open_storage

STAGES = "stages: [classifier: {epochs: 3, lr: $lr}, cams, pseudo_masks]"
SWEEP = f"name: cam, search: {{lr: {{choice: [0.01, 0.1, 1.0]}}}}, {STAGES}"
Fails = Callable[[str, float], bool]


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> Any:
    return toy.install(monkeypatch)


def break_last_stage(monkeypatch: pytest.MonkeyPatch, *values: float) -> None:
    """Let pseudo masks of what came to these values fail, as when their pool is killed; none: heal all."""

    def step(self: Any) -> dict[str, float]:
        found = (self.context.inputs["cams"] / "value.json").read_text()
        if any(abs(float(found) - value) < 1e-9 for value in values):
            raise RuntimeError("a worker process died")
        return toy._Toy.step(self)

    monkeypatch.setattr(toy.PseudoMasks, "step", step)


def run(study: Any, data: Any, *observers: Any) -> Outcome:
    toy.EPOCHS_MADE.clear()
    executor = LocalExecutor(Store(study.storage / "store"), data)
    return StudyRun(study, data, executor, observers).run()


class Made:
    """The stages that were computed, and what `look` found at the end of each."""

    def __init__(self, look: Callable[[], Any] = lambda: None) -> None:
        self.stages: list[str] = []
        self.found: list[Any] = []
        self._look = look

    def on_event(self, event: Any) -> None:
        if isinstance(event, StageFinished) and not event.cached:
            self.stages.append(event.stage)
            self.found.append(self._look())

    def close(self) -> None: ...


def test_what_failed_in_its_last_stage_makes_that_one_alone(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = toy.study(tmp_path, SWEEP, retain="kept")
    break_last_stage(monkeypatch, toy.quality(0.1))
    assert len(run(study, data).failed) == 1
    evict_unkept(open_storage(tmp_path))  # of another study, or of `storage prune`
    store = Store(tmp_path / "store")
    failed, dropped = toy.table(study)["cam-cam-001"][2], toy.table(study)["cam-cam-002"][2]
    assert store.has(failed["classifier"]) and store.has(failed["cams"])
    assert not store.has(dropped["classifier"]), "what ended and was not kept is deleted as ever"

    run(study, data)
    assert not toy.EPOCHS_MADE, "it fails again, and is there still"
    break_last_stage(monkeypatch)
    made = Made()
    outcome = run(study, data, made)
    assert not outcome.failed and not toy.EPOCHS_MADE
    assert made.stages == ["pseudo_masks", "pseudo_masks.scores"]
    assert not Store(tmp_path / "store").has(failed["classifier"]), "it is done, and was not kept"


def test_seeds_of_a_configuration_that_failed_in_part_stay_with_those_it_is_ranked_against(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that leads by a single seed may drop behind, or another come to the front."""
    sweep = f"name: cam, seeds: [1, 2], search: {{lr: {{choice: [0.01, 0.1]}}}}, {STAGES}"
    monkeypatch.setattr(toy, "quality", _by_turns({0.01: [0.5, 0.9], 0.1: [0.6, 0.6]}))
    study = toy.study(tmp_path, sweep, "name: next, stages: [pseudo_masks]", retain="kept")
    break_last_stage(monkeypatch, 0.9)
    assert run(study, data).failed == ["cam-cam-000-s2"]
    assert {id for id, row in toy.table(study).items() if row[-1]} >= {"cam-cam-001-s1", "cam-cam-001-s2"}
    break_last_stage(monkeypatch)
    outcome = run(study, data)
    assert not outcome.failed and not toy.EPOCHS_MADE, "no classifier is trained again"
    assert toy.table(study)["cam-cam-000-s1"][-1]


def _by_turns(values: dict[float, list[float]]) -> Callable[[float], float]:
    """Return a quality that is another for each classifier of a learning rate, of three epochs each."""
    asked: dict[float, int] = dict.fromkeys(values, 0)

    def quality(lr: float) -> float:
        asked[lr] += 1
        return values[lr][(asked[lr] - 1) // 3]

    return quality


def test_what_is_made_again_after_its_sweep_had_ended_is_wanted_meanwhile(data: Any, tmp_path: Path) -> None:
    """Scores of a trial that was not kept were damaged: its chain is made again, over other studies' heads."""
    study = toy.study(tmp_path, SWEEP, retain="kept")
    run(study, data)
    before = toy.table(study)
    keys = before["cam-cam-001"][2]
    Store(tmp_path / "store").set_aside(keys["pseudo_masks.scores"])
    made = Made(lambda: set(keys.values()) <= wanted_keys(open_storage(tmp_path)))
    run(study, data, made)
    assert made.stages == ["classifier", "cams", "pseudo_masks", "pseudo_masks.scores"]
    assert all(made.found), "nobody may delete what is being made"
    assert toy.table(study) == before
    assert not Store(tmp_path / "store").has(keys["classifier"]), "at the end it goes again"
