"""Population-based training: the worst go on from the best, and a member's history is all there is to know."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import toy_studies as toy

from wsss.config import Budget
from wsss.pipeline.events import Event, SweepFinished, Tried
from wsss.pipeline.forecasts.forecast import forecast
from wsss.pipeline.local import LocalExecutor
from wsss.pipeline.past.tried import attempts, tried_by
from wsss.pipeline.search.population import span_labels
from wsss.pipeline.search.trials import sweep_trials
from wsss.pipeline.study import StudyRun
from wsss.store.folder_store import Store
from wsss.store.ledger import Ledger
from wsss.store.storage import open_storage

SWEEP = (
    "name: cam, scheduler: {kind: pbt, interval: 2, mutate: {lr: {loguniform: [0.0001, 1.0]}}},"
    " samples: 5, search: {lr: {loguniform: [0.0001, 1.0]}}, stages: [classifier: {epochs: 7, lr: $lr}, cams]"
)


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> Any:
    return toy.install(monkeypatch)


def members(study: Any, data: Any) -> list[Any]:
    return sweep_trials(study, study.sweeps[0], [], data, toy.records(study))


def test_the_worst_go_on_from_the_best(data: Any, tmp_path: Path) -> None:
    study = toy.study(tmp_path, SWEEP)
    outcome, _ = toy.run(study, data)
    assert outcome.trials == 5 and not outcome.failed and not outcome.stopped
    store = Store(tmp_path / "store")
    first = {t.info.id: t for t in sweep_trials(study, study.sweeps[0], [], data)}
    start = {id: toy.quality(t.info.params["lr"]) for id, t in first.items()}
    trials = members(study, data)
    for trial in trials:
        assert [line["epoch"] for line in trial.history] == [0, 2, 4, 6]
        labels = span_labels(trial.chain)
        assert labels == ["classifier.2", "classifier.4", "classifier.6", "classifier"]
        for label, line in zip(labels, trial.history, strict=True):
            assert trial.chain[label].params.lr == line["params"]["lr"]
            assert store.known(trial.chain[label].key) is not None
    worst, best = min(start, key=start.__getitem__), max(start, key=start.__getitem__)
    replaced = next(trial for trial in trials if trial.info.id == worst)
    assert replaced.history[0]["params"] == dict(first[best].info.params), (
        "the best one's past is its own now"
    )
    assert replaced.history[1]["parent"] in (best, worst)
    assert len({t.chain["classifier.2"].key for t in trials}) < 5, "what they share is one artefact"


def test_a_population_ends_better_than_the_same_trials_left_alone(data: Any, tmp_path: Path) -> None:
    pbt = toy.study(tmp_path / "pbt", SWEEP)
    alone = toy.study(
        tmp_path / "alone", SWEEP.replace(SWEEP[SWEEP.index("scheduler") : SWEEP.index("samples")], "")
    )
    toy.run(pbt, data)
    toy.run(alone, data)

    def scores(study: Any) -> list[float]:
        return [record.metrics["cams/select/miou"] for record in toy.records(study).values()]

    assert min(scores(pbt)) > min(scores(alone))
    assert sum(scores(pbt)) > sum(scores(alone))


def test_every_part_is_trained_once(data: Any, tmp_path: Path) -> None:
    study = toy.study(tmp_path, SWEEP)
    toy.run(study, data)
    made = Counter(toy.EPOCHS_MADE)
    assert set(made.values()) == {1}
    before = toy.table(study)
    again, executor = toy.run(study, data)
    assert not executor.jobs and again.computed == 0 and toy.table(study) == before


class Told:
    """Remembers what observers hear of the sweep's end."""

    tried: Mapping[str, Tried]

    def on_event(self, event: Event) -> None:
        if isinstance(event, SweepFinished):
            self.tried = event.tried

    def close(self) -> None: ...


def count(study: Any) -> Tried:
    storage = open_storage(study.storage)
    (tried,) = tried_by(["cam"], attempts(study, storage), storage.store).values()
    return tried


def test_every_set_of_values_that_trained_was_tried(data: Any, tmp_path: Path) -> None:
    """Five members, each of which may change its values three times: the toy notes what it trained with."""
    study = toy.study(tmp_path, SWEEP)
    told = Told()
    toy.run(study, data, observers=[told])
    trained = {lr for lr, _ in toy.EPOCHS_MADE}
    assert len(trained) > 5, "members have changed"
    found = count(study)
    assert (found.configurations, found.epochs) == (len(trained), len(toy.EPOCHS_MADE))
    assert [one.configurations for one in told.tried.values()] == [len(trained)], "MLflow hears the same"


@pytest.mark.parametrize("round_", range(4))
def test_interrupted_at_random_it_ends_as_if_it_had_not_been(round_: int, data: Any, tmp_path: Path) -> None:
    calm = toy.study(tmp_path / "calm", SWEEP)
    toy.run(calm, data)
    study = toy.study(tmp_path / "stormy", SWEEP)
    rng = random.Random(round_)
    interrupted, runs = True, 0
    while interrupted:
        interrupted, runs = toy.run(study, data, stop_after=rng.randrange(1, 40))[0].interrupted, runs + 1
    assert runs > 1
    assert toy.table(study) == toy.table(calm)
    assert (count(study).configurations, count(study).epochs) == (
        count(calm).configurations,
        count(calm).epochs,
    )
    assert [t.history for t in members(study, data)] == [t.history for t in members(calm, data)]
    ends = Counter(e["id"] for e in Ledger(study.storage / "studies/toy").entries() if e["type"] == "end")
    assert set(ends.values()) == {1}


def test_a_kept_schedule_is_repeated_with_other_seeds(data: Any, tmp_path: Path) -> None:
    study = toy.study(tmp_path, SWEEP, "name: again, replicate: cam, seeds: [7, 8]")
    toy.run(study, data)
    records = toy.records(study)
    kept = next(record for record in records.values() if record.sweep == "cam" and record.kept)
    again = [record for record in records.values() if record.sweep == "again"]
    assert [record.seed for record in again] == [7, 8]
    for record in again:
        assert record.status == "done" and record.keys.keys() == kept.keys.keys()
        assert not set(record.keys.values()) & set(kept.keys.values())
        assert record.metrics == pytest.approx(kept.metrics), "toys don't look at the seed"


def test_an_interval_of_all_epochs_is_plain_training(data: Any, tmp_path: Path) -> None:
    pbt = toy.study(tmp_path, SWEEP.replace("interval: 2", "interval: 7"))
    toy.run(pbt, data)
    plain = toy.study(
        tmp_path, SWEEP.replace(SWEEP[SWEEP.index("scheduler") : SWEEP.index("samples")], ""), name="plain"
    )
    outcome, _ = toy.run(plain, data)
    assert outcome.computed == 0, "the same keys"


def test_the_forecast_counts_the_parts(data: Any, tmp_path: Path) -> None:
    study = toy.study(tmp_path, SWEEP)
    rows = {row["stage"]: row for row in forecast(study, data, Store(tmp_path / "store"))}
    assert [
        rows[name]["to_make"] for name in ("classifier.2", "classifier.4", "classifier.6", "classifier")
    ] == [5] * 4
    toy.run(study, data)
    rows = {row["stage"]: row for row in forecast(study, data, Store(tmp_path / "store"))}
    assert all(row["to_make"] == 0 for row in rows.values())


def limited(study: Any, trials: int) -> Any:
    return study.model_copy(update={"budget": Budget(trials=trials)})


def test_a_budget_of_trials_holds_for_a_population_as_a_whole(data: Any, tmp_path: Path) -> None:
    study = toy.study(tmp_path, SWEEP)
    for trials in (1, 4):
        outcome, executor = toy.run(limited(study, trials), data)
        assert outcome.interrupted and outcome.budget_key == "trials" and not executor.jobs
        assert outcome.budget == f"0 of {trials} trials; a population's 5 members are trained together"
    outcome, _ = toy.run(limited(study, 5), data)
    assert not outcome.interrupted and outcome.trials == 5
    calm = toy.study(tmp_path / "calm", SWEEP)
    toy.run(calm, data)
    assert {id: row[3:] for id, row in toy.table(study).items()} == {
        id: row[3:] for id, row in toy.table(calm).items()
    }
    outcome, _ = toy.run(limited(study, 1), data)
    assert not outcome.interrupted, "all of it is paid for"


def test_a_population_is_trained_on_when_its_trials_were_paid_for(data: Any, tmp_path: Path) -> None:
    study = toy.study(tmp_path, SWEEP)
    outcome, executor = toy.run(limited(study, 5), data, stop_after=30)
    assert outcome.interrupted and not outcome.budget and executor.jobs
    assert not toy.run(limited(study, 5), data)[0].interrupted


def test_what_was_decided_stays_decided_when_a_member_that_failed_could_be_made_now(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part that failed made its member one of the worst, which all went on from: that is its history."""
    study = toy.study(tmp_path, SWEEP)
    best = max(sweep_trials(study, study.sweeps[0], [], data), key=lambda t: toy.quality(t.info.params["lr"]))
    step = toy.Classifier.step

    def fail(self: Any) -> dict[str, float]:
        if self.params.lr == best.info.params["lr"] and self.epoch == 2:
            raise RuntimeError("the best one's process died")
        return step(self)

    def run() -> Any:
        executor = LocalExecutor(Store(tmp_path / "store"), data)
        return StudyRun(study, data, executor).run()

    monkeypatch.setattr(toy.Classifier, "step", fail)
    assert not run().failed, "it went on from another"
    before = toy.table(study)
    monkeypatch.setattr(toy.Classifier, "step", step)
    toy.EPOCHS_MADE.clear()
    outcome = run()
    assert outcome.computed == 0 and not toy.EPOCHS_MADE
    assert toy.table(study) == before
