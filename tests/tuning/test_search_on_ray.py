"""Searchers and schedulers on a real (one-machine) Ray cluster, on toy stages: what stops, what finishes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from by_value import by_value

sys.path.append(str(Path(__file__).parents[1] / "pipeline"))

import toy_studies as toy

from wsss.errors import DataError, StorageError
from wsss.pipeline.study import StudyRun
from wsss.store.folder_store import Store
from wsss.tuning import executor as executor_module
from wsss.tuning.executor import RayExecutor
from wsss.tuning.schedulers import make_judge
from wsss.tuning.trials.trainable import ChainTrainable

import ray  # isort: skip

pytestmark = [pytest.mark.timeout(300), pytest.mark.long]

STAGES = "stages: [classifier: {epochs: 6, lr: $lr}, cams, pseudo_masks]"
VALUES = "search: {lr: {choice: [0.01, 0.012, 0.1, 0.3, 1.0]}}"


class ToyTrainable(ChainTrainable):
    """A chain of toy stages, in a process that has none of the driver's patches."""

    def setup(self, config: dict[str, Any]) -> None:
        self.toys = toy.install()
        super().setup(config)

    def _open(self, spec: dict[str, Any], storage: Path) -> Any:
        return self.toys


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One Ray for all of this file's studies."""
    yield
    ray.shutdown()


@pytest.fixture
def toys() -> Iterator[None]:
    with by_value(toy, sys.modules[__name__]):
        yield


@pytest.fixture
def data(cluster: None, toys: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(executor_module, "ChainTrainable", ToyTrainable)
    return toy.install(monkeypatch)


def run(study: Any, data: Any) -> Any:
    return StudyRun(study, data, RayExecutor(study), (), make_judge).run()


def by_lr(study: Any) -> dict[float, Any]:
    return {record.params["lr"]: record for record in toy.records(study).values()}


def test_toys_that_were_read_back_in_this_process_are_those_of_their_module_again() -> None:
    with by_value(toy):
        ray.cloudpickle.loads(ray.cloudpickle.dumps(toy.Classifier))
        assert toy.Classifier.step.__globals__ is not vars(toy), "what a test patches there, it doesn't see"
    assert toy.Classifier.step.__globals__ is vars(toy)


def test_asha_stops_the_bad_and_those_that_finish_have_the_numbers_of_a_local_fifo(
    data: Any, tmp_path: Path
) -> None:
    study = toy.study(
        tmp_path / "ray", f"name: cam, scheduler: {{kind: asha, reduction: 3}}, {VALUES}, {STAGES}"
    )
    outcome = run(study, data)
    found = by_lr(study)
    assert found[1.0].status == "stopped" and found[0.3].status == "stopped"
    assert found[0.01].status == "done" and found[0.01].kept
    assert {r.status for r in found.values()} == {"done", "stopped"} and not outcome.failed
    assert found[1.0].rungs[-1][0] < 6 and "asha: rung score" in found[1.0].reason
    local = toy.study(tmp_path / "local", f"name: cam, {VALUES}, {STAGES}")
    toy.run(local, data)
    for lr, record in found.items():
        if record.status == "done":
            full = by_lr(local)[lr]
            assert (record.keys, record.metrics) == (full.keys, full.metrics)
    before = toy.table(study)
    again = run(study, data)
    assert again.computed == 0 and toy.table(study) == before, "nothing is run again"


def test_a_score_that_is_too_low_ends_the_chain(data: Any, tmp_path: Path) -> None:
    study = toy.study(tmp_path, f"name: cam, stop_below: {{cams/select/miou: 0.6}}, {VALUES}, {STAGES}")
    run(study, data)
    local = toy.study(
        tmp_path / "local", f"name: cam, stop_below: {{cams/select/miou: 0.6}}, {VALUES}, {STAGES}"
    )
    toy.run(local, data)
    assert toy.table(study) == toy.table(local)
    assert by_lr(study)[0.1].reason == "cams/select/miou 0.500 is below 0.6"


def test_optuna_is_asked_by_ray_and_told_by_the_driver(data: Any, tmp_path: Path) -> None:
    sweep = f"name: cam, searcher: {{kind: optuna, startup: 3}}, samples: 5, search: {{lr: {{loguniform: [0.0001, 1.0]}}}}, {STAGES}"
    study = toy.study(tmp_path, sweep)
    outcome = run(study, data)
    found = toy.records(study)
    assert outcome.trials == 5 and [record.status for record in found.values()] == ["done"] * 5
    assert list(found) == [f"cam-cam-{number:03d}" for number in range(5)]
    for record in found.values():
        assert record.metrics["cams/select/miou"] == pytest.approx(toy.quality(record.params["lr"]))
    before = toy.table(study)
    assert run(study, data).computed == 0 and toy.table(study) == before


def test_an_error_of_the_drivers_own_ends_the_run_and_is_told(data: Any, tmp_path: Path) -> None:
    study = toy.study(
        tmp_path,
        f"name: cam, searcher: optuna, samples: 3, search: {{lr: {{loguniform: [0.0001, 1.0]}}}}, {STAGES}",
    )

    class Broken:
        def on_event(self, event: Any) -> None:
            if type(event).__name__ == "TrialFinished":
                raise RuntimeError("an observer broke its word")

        def close(self) -> None: ...

    with pytest.raises(RuntimeError, match="broke its word"):
        StudyRun(study, data, RayExecutor(study), [Broken()], make_judge).run()
    assert run(study, data).trials == 3
    assert [record.status for record in toy.records(study).values()] == ["done"] * 3


def test_a_population_ends_as_it_does_locally(data: Any, tmp_path: Path) -> None:
    sweep = (
        "name: cam, scheduler: {kind: pbt, interval: 2, mutate: {lr: {loguniform: [0.0001, 1.0]}}}, samples: 4,"
        " search: {lr: {loguniform: [0.0001, 1.0]}}, stages: [classifier: {epochs: 4, lr: $lr}, cams]"
    )
    study, local = toy.study(tmp_path / "ray", sweep), toy.study(tmp_path / "local", sweep)
    run(study, data)
    toy.run(local, data)
    assert toy.table(study) == toy.table(local)


class Refused(ToyTrainable):
    """Can't open its data; notes in the storage's `tries` each time that it tries."""

    def _open(self, spec: dict[str, Any], storage: Path) -> Any:
        with (storage / "tries").open("a") as file:
            file.write("tried\n")
        if (storage / "full").exists():
            raise StorageError("the storage is full")
        raise DataError("the photos are gone")


def test_data_that_cannot_be_opened_fails_each_trial_once(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor_module, "ChainTrainable", Refused)
    study = toy.study(tmp_path, f"name: cam, {VALUES}, {STAGES}")
    run(study, data)
    found = by_lr(study).values()
    assert [record.error for record in found] == ["the photos are gone"] * 5, "our words, no traceback"
    assert {record.status for record in found} == {"failed"}
    assert len((tmp_path / "tries").read_text().splitlines()) == 5, "nothing that would fail again is retried"


def test_a_storage_that_fails_a_trial_at_its_start_ends_the_study(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor_module, "ChainTrainable", Refused)
    study = toy.study(tmp_path, f"name: cam, {VALUES}, {STAGES}")
    (tmp_path / "full").touch()
    with pytest.raises(StorageError, match="the storage is full"):
        run(study, data)
    assert all(record.status != "failed" for record in by_lr(study).values()), "no trial is to blame"


def test_what_trials_share_is_stopped_for_all_of_them(data: Any, tmp_path: Path) -> None:
    sweep = (
        "name: cam, stop_below: {cams/select/miou: 0.6},"
        " search: {lr: {choice: [0.01, 0.1]}, power: {choice: [2, 4]}},"
        " stages: [classifier: {epochs: 3, lr: $lr}, cams, pseudo_masks: {as: rough},"
        " pseudo_masks: {background_exponent: $power}]"
    )
    study, local = toy.study(tmp_path / "ray", sweep), toy.study(tmp_path / "local", sweep)
    outcome = run(study, data)
    toy.run(local, data)
    assert len(outcome.stopped) == 2 and not outcome.failed
    assert toy.table(study) == toy.table(local)
    stopped = next(record for record in toy.records(study).values() if record.status == "stopped")
    assert Store(tmp_path / "ray/store").known(stopped.keys["rough"]) is None
