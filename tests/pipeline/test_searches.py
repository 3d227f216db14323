"""Searching with Optuna: the same questions after any interrupt, nothing lost, nothing doubled."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy_studies as toy

from wsss.config import Budget, Distribution, OptunaSearch
from wsss.pipeline.forecasts.forecast import forecast
from wsss.pipeline.search.suggest import Suggestions
from wsss.store.folder_store import Store
from wsss.store.ledger import Ledger

SEARCH = {
    "lr": Distribution("loguniform", (1e-4, 1.0)),
    "share": Distribution("uniform", (0.0, 1.0)),
    "clusters": Distribution("randint", (2, 9)),
    "kind": Distribution("choice", (1, 1.0, True, "one")),
}
SWEEP = (
    "name: cam, searcher: {kind: optuna, startup: 3}, samples: 8, search: {lr: {loguniform: [0.0001, 1.0]}},"
    " stages: [classifier: {epochs: 2, lr: $lr}, cams]"
)


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> Any:
    return toy.install(monkeypatch)


def suggestions(samples: int = 40, seed: int = 0, name: str = "cam-a", **options: Any) -> Suggestions:
    return Suggestions(SEARCH, OptunaSearch(**options), samples=samples, seed=seed, name=name)


def asked(search: Suggestions) -> list[dict[str, Any]]:
    found = []
    while search.left:
        number, values = search.ask()
        search.tell(number, [toy.quality(float(values["lr"]))])
        found.append(values)
    return found


def test_the_same_seed_asks_the_same_and_another_arm_does_not() -> None:
    assert asked(suggestions()) == asked(suggestions())
    assert asked(suggestions()) != asked(suggestions(name="cam-b"))
    assert asked(suggestions()) != asked(suggestions(seed=1))


def test_values_are_within_their_distributions_and_keep_their_types() -> None:
    for values in asked(suggestions(60)):
        assert 1e-4 <= values["lr"] <= 1 and 0 <= values["share"] <= 1
        assert values["clusters"] in range(2, 10) and type(values["clusters"]) is int
        assert repr(values["kind"]) in ("1", "1.0", "True", "'one'")
    kinds = {repr(values["kind"]) for values in asked(suggestions(60))}
    assert len(kinds) == 4, "1, 1.0 and true are three choices"


def test_it_learns() -> None:
    found = [toy.quality(float(values["lr"])) for values in asked(suggestions(60))]
    assert np.mean(found[-20:]) > np.mean(found[:10]) + 0.2


@pytest.mark.parametrize("stop", [1, 9, 10, 11, 25, 39])
def test_put_together_again_it_asks_what_it_would_have_asked(stop: int) -> None:
    calm = asked(suggestions())
    again = suggestions()
    for values in calm[:stop]:
        number = again.restore(values)
        again.tell(number, [toy.quality(float(values["lr"]))])
    assert again.left == 40 - stop
    assert asked(again) == calm[stop:]


def test_stopped_and_failed_ones_are_told_too() -> None:
    search = suggestions(6)
    for kind in range(6):
        number, _ = search.ask()
        assert number == kind
        if kind % 3 == 0:
            search.tell(number, [0.2, 0.4])
        elif kind % 3 == 1:
            search.tell(number, [], rungs=[(1, 0.1), (2, 0.3)])
        else:
            search.tell(number, [])
    trials = search._study.trials
    assert [trial.state.name for trial in trials] == ["COMPLETE", "PRUNED", "FAIL"] * 2
    assert trials[0].value == pytest.approx(0.3), "seeds count by their mean"
    assert trials[1].intermediate_values == {1: 0.1, 2: 0.3}


def test_two_thousand_are_put_together_again_in_no_time() -> None:
    first = suggestions(2000, startup=2000)
    values = [first.ask()[1] for _ in range(2000)]
    again = suggestions(2001, startup=10)
    for one in values:
        again.tell(again.restore(one), [toy.quality(float(one["lr"]))])
    assert again.ask()[0] == 2000 and not again.left
    assert len({repr(one) for one in values}) == 2000


def test_every_configuration_is_in_the_ledger_before_it_starts(data: Any, tmp_path: Path) -> None:
    study = toy.study(tmp_path, SWEEP)
    seen = []

    class Watch:
        def on_event(self, event: Any) -> None:
            if type(event).__name__ == "TrialStarted":
                seen.append(event.trial.id in toy.records(study))

        def close(self) -> None: ...

    outcome, _ = toy.run(study, data, observers=[Watch()])
    assert seen == [True] * 8
    assert outcome.trials == 8 and not outcome.failed
    best = max(toy.records(study).values(), key=lambda record: record.metrics["cams/select/miou"])
    assert [record.id for record in toy.records(study).values() if record.kept] == [best.id]


def ends(folder: Path) -> Counter[str]:
    return Counter(entry["id"] for entry in Ledger(folder).entries() if entry["type"] == "end")


@pytest.mark.parametrize("round_", range(6))
def test_interrupted_at_any_moment_it_ends_as_if_it_had_not_been(
    round_: int, data: Any, tmp_path: Path
) -> None:
    calm = toy.study(tmp_path / "calm", SWEEP)
    toy.run(calm, data)
    study = toy.study(tmp_path / "stormy", SWEEP)
    rng = random.Random(round_)
    runs, interrupted = 0, True
    while interrupted:
        outcome, _ = toy.run(study, data, stop_after=rng.randrange(1, 30))
        interrupted, runs = outcome.interrupted, runs + 1
        assert runs < 200
    assert runs > 1
    assert toy.table(study) == toy.table(calm)
    assert set(ends(study.storage / "studies/toy").values()) == {1}, "no trial ended twice"
    again, executor = toy.run(study, data)
    assert not executor.jobs and again.trials == 8 and again.computed == 0


def test_stopped_after_every_single_event(data: Any, tmp_path: Path) -> None:
    sweep = (
        SWEEP.replace("samples: 8", "samples: 3")
        .replace("startup: 3", "startup: 1")
        .replace("epochs: 2", "epochs: 1")
    )
    calm = toy.study(tmp_path / "calm", sweep)
    toy.run(calm, data)
    expected, stop, interrupted = toy.table(calm), 0, True
    while interrupted:
        study = toy.study(tmp_path / str(stop), sweep)
        interrupted = toy.run(study, data, stop_after=stop)[0].interrupted
        toy.run(study, data)
        assert toy.table(study) == expected, stop
        stop += 1
    assert stop > 30, "that many moments there were"


def test_seeds_run_the_same_configuration_and_tell_their_mean(data: Any, tmp_path: Path) -> None:
    study = toy.study(tmp_path, SWEEP + ", seeds: [1, 2]")
    outcome, _ = toy.run(study, data)
    assert outcome.trials == 16
    by_configuration: dict[str, list[Any]] = {}
    for record in toy.records(study).values():
        by_configuration.setdefault(record.configuration, []).append(record)
    assert len(by_configuration) == 8
    for pair in by_configuration.values():
        assert [record.seed for record in pair] == [1, 2]
        assert pair[0].params == pair[1].params
    kept = [record for record in toy.records(study).values() if record.kept]
    assert [record.seed for record in kept] == [1, 2] and len({r.configuration for r in kept}) == 1


def test_a_later_sweep_searches_after_each_kept_trial(data: Any, tmp_path: Path) -> None:
    later = (
        "name: masks, searcher: optuna, samples: 3, search: {exponent: {uniform: [1.0, 8.0]}},"
        " stages: [pseudo_masks: {background_exponent: $exponent}]"
    )
    study = toy.study(tmp_path, SWEEP + ", keep: 2", later)
    toy.run(study, data, stop_after=200)
    outcome, _ = toy.run(study, data)
    assert not outcome.interrupted
    masks = [record for record in toy.records(study).values() if record.sweep == "masks"]
    assert sorted(Counter(record.upstream for record in masks).values()) == [3, 3]
    assert len({record.params["exponent"] for record in masks}) == 6


def test_what_no_variable_reaches_is_made_once_and_first(data: Any, tmp_path: Path) -> None:
    sweep = (
        "name: masks, searcher: optuna, samples: 4, search: {exponent: {uniform: [1.0, 8.0]}},"
        " stages: [classifier: {epochs: 2}, cams, pseudo_masks: {background_exponent: $exponent}]"
    )
    outcome, executor = toy.run(toy.study(tmp_path, sweep), data)
    assert executor.jobs[0].startswith("shared-") and not outcome.failed
    assert len(toy.EPOCHS_MADE) == 2


def test_the_forecast_counts_what_will_be_asked(data: Any, tmp_path: Path) -> None:
    study = toy.study(tmp_path, SWEEP)
    store = Store(tmp_path / "store")
    rows = {row["stage"]: row for row in forecast(study, data, store)}
    assert rows["classifier"]["trials"] == 8 and rows["classifier"]["to_make"] == 8
    toy.run(study, data)
    rows = {row["stage"]: row for row in forecast(study, data, store)}
    assert rows["classifier"]["in_storage"] == 8 and rows["classifier"]["to_make"] == 0


def test_shared_work_of_a_search_waits_for_a_trial_that_the_budget_has_room_for(
    data: Any, tmp_path: Path
) -> None:
    """The first sweep uses the budget up; the second would begin with what all its trials share."""
    first = "name: cam, stages: [classifier: {epochs: 2, lr: 0.01}]"
    second = (
        "name: masks, searcher: optuna, samples: 2, search: {power: {randint: [2, 60]}},"
        " stages: [cams, pseudo_masks: {background_exponent: $power}]"
    )
    study = toy.study(tmp_path, first, second)
    outcome, executor = toy.run(study.model_copy(update={"budget": Budget(trials=1)}), data)
    assert outcome.budget == "1 of 1 trials" and executor.jobs == ["cam-cam-000"]
    outcome, executor = toy.run(study.model_copy(update={"budget": Budget(trials=2)}), data)
    assert outcome.budget == "2 of 2 trials"
    assert [job.partition("-")[0] for job in executor.jobs] == ["shared", "masks"]
