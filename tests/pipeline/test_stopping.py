"""Giving up on trials: by a scheduler's judgement of epochs, by a score that is too low."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import toy_studies as toy

from wsss.config import Budget
from wsss.pipeline.events import SharedEnded, TrialFinished, TrialProgress, TrialStarted
from wsss.pipeline.forecasts.forecast import forecast
from wsss.pipeline.past.retention import evict_unkept, prune
from wsss.store.folder_store import Store
from wsss.store.storage import open_storage

ASHA = (
    "name: cam, scheduler: {kind: asha, grace: 2, reduction: 2}, search: {lr: {choice: [%s]}},"
    " stages: [classifier: {epochs: 8, lr: $lr}, cams]"
)
BELOW = (
    "name: cam, stop_below: %s, search: {lr: {choice: [%s]}},"
    " stages: [classifier: {epochs: 2, lr: $lr}, cams, pseudo_masks]"
)


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> Any:
    return toy.install(monkeypatch)


class Told:
    def __init__(self) -> None:
        self.events: list[Any] = []

    def on_event(self, event: Any) -> None:
        self.events.append(event)

    def close(self) -> None: ...


def by_lr(study: Any) -> dict[float, Any]:
    return {record.params["lr"]: record for record in toy.records(study).values()}


def test_asha_stops_the_worse_ones_at_its_rungs(data: Any, tmp_path: Path) -> None:
    study = toy.study(tmp_path, ASHA % "0.01, 0.1, 0.02, 1.0")
    told = Told()
    outcome, _ = toy.run(study, data, observers=[told])
    found = by_lr(study)
    # Reduction 2 cuts at the median of those that came to a rung (2, 4, 8) before. By hand: 0.1 is below
    # the 0.5 of 0.01; 0.02 (0.425) is above the 0.375 between those two, but below 0.01's 0.667 at epoch 4.
    ends = {lr: (record.status, record.rungs[-1][0]) for lr, record in found.items()}
    assert ends == {0.01: ("done", 8), 0.1: ("stopped", 2), 0.02: ("stopped", 4), 1.0: ("stopped", 2)}
    assert found[0.1].rungs[-1] == (2, pytest.approx(toy.quality(0.1) / 2))
    assert found[0.1].reason.startswith("asha: rung score 0.250 after epoch 2 of 8")
    assert max(epoch for lr, epoch in toy.EPOCHS_MADE if lr == 0.1) == 2, "the rest was not computed"
    assert found[0.01].kept and not found[0.1].kept
    assert found[0.1].metrics == {}
    ended = {e.trial.id: e for e in told.events if isinstance(e, TrialFinished)}
    assert ended[found[0.1].id].status == "stopped" and ended[found[0.1].id].reason == found[0.1].reason
    assert set(outcome.stopped) == {r.id for r in found.values() if r.status == "stopped"}


def test_what_it_lets_finish_has_the_numbers_of_fifo(data: Any, tmp_path: Path) -> None:
    values = "0.01, 0.1, 0.02, 1.0, 0.005, 0.3"
    asha = toy.study(tmp_path / "asha", ASHA % values)
    fifo = toy.study(
        tmp_path / "fifo", (ASHA % values).replace("scheduler: {kind: asha, grace: 2, reduction: 2}, ", "")
    )
    toy.run(asha, data)
    toy.run(fifo, data)
    full = by_lr(fifo)
    assert all(record.status == "done" for record in full.values())
    done = {lr: record for lr, record in by_lr(asha).items() if record.status == "done"}
    assert 0 < len(done) < len(full)
    for lr, record in done.items():
        assert (record.keys, record.metrics) == (full[lr].keys, full[lr].metrics)


def test_stopped_ones_are_not_run_again_and_can_go_on_in_another_study(data: Any, tmp_path: Path) -> None:
    study = toy.study(tmp_path, ASHA % "0.01, 0.1")
    toy.run(study, data)
    before = toy.table(study)
    toy.EPOCHS_MADE.clear()
    outcome, executor = toy.run(study, data)
    assert not executor.jobs and not toy.EPOCHS_MADE
    assert toy.table(study) == before
    assert outcome.stopped == [by_lr(study)[0.1].id]
    alone = toy.study(
        tmp_path,
        "name: cam, search: {lr: {choice: [0.1]}}, stages: [classifier: {epochs: 8, lr: $lr}, cams]",
        name="alone",
    )
    toy.run(alone, data)
    assert [epoch for _, epoch in toy.EPOCHS_MADE] == [3, 4, 5, 6, 7, 8], "it went on after epoch 2"


def test_a_retained_storage_forgets_half_made_work_that_was_stopped(data: Any, tmp_path: Path) -> None:
    for retain, stays in (("all", True), ("kept", False)):
        study = toy.study(tmp_path / retain, ASHA % "0.01, 0.1", retain=retain)
        toy.run(study, data)
        evict_unkept(open_storage(study.storage))
        half_made = study.storage / "store/partial" / by_lr(study)[0.1].keys["classifier"]
        assert half_made.is_dir() == stays
        prune(open_storage(study.storage), dry_run=False)
        assert not half_made.exists()


def test_a_cached_classifier_is_judged_by_its_history(data: Any, tmp_path: Path) -> None:
    first = toy.study(
        tmp_path,
        "name: cam, search: {lr: {choice: [0.01, 0.02]}}, stages: [classifier: {epochs: 8, lr: $lr}]",
        name="first",
    )
    toy.run(first, data)
    toy.EPOCHS_MADE.clear()
    study = toy.study(tmp_path, ASHA % "0.01, 0.02, 0.1")
    told = Told()
    outcome, _ = toy.run(study, data, observers=[told])
    found = by_lr(study)
    assert [found[lr].status for lr in (0.01, 0.02, 0.1)] == ["done", "done", "stopped"]
    assert [epoch for epoch, _ in found[0.01].rungs] == list(range(1, 9)), "all of its history was told"
    assert {lr for lr, _ in toy.EPOCHS_MADE} == {0.1}
    steps = [e for e in told.events if isinstance(e, TrialProgress) and e.stage == "classifier"]
    assert {e.trial for e in steps} == {found[0.1].id}, "nobody is shown work that was not done"
    assert outcome.reused == 2


def test_arms_are_judged_apart(data: Any, tmp_path: Path) -> None:
    arms = "{good: {stages: [classifier: {epochs: 8, lr: 0.01}, cams]}, bad: {stages: [classifier: {epochs: 8, lr: 1.0}, cams]}}"
    study = toy.study(tmp_path, f"name: cam, scheduler: asha, arms: {arms}")
    outcome, _ = toy.run(study, data)
    assert not outcome.stopped


def test_the_median_rule_waits_for_enough_trials(data: Any, tmp_path: Path) -> None:
    sweep = ASHA.replace("{kind: asha, grace: 2, reduction: 2}", "{kind: median, grace: 3, min_trials: 2}")
    study = toy.study(tmp_path, sweep % "1.0, 0.01, 0.02, 0.1")
    toy.run(study, data)
    found = by_lr(study)
    assert [found[lr].status for lr in (1.0, 0.01, 0.02, 0.1)] == ["done", "done", "done", "stopped"]
    assert found[0.1].rungs[-1][0] == 3


def test_hyperband_deals_trials_out_to_brackets(data: Any, tmp_path: Path) -> None:
    sweep = ASHA.replace("{kind: asha, grace: 2, reduction: 2}", "{kind: hyperband, grace: 1, reduction: 2}")
    values = ", ".join(str(0.01 * 1.15**n) for n in range(24))
    study = toy.study(tmp_path, sweep % values)
    toy.run(study, data)
    last = {record.rungs[-1][0] for record in toy.records(study).values() if record.status == "stopped"}
    assert len(last) >= 2, "brackets begin to judge at different epochs"


def test_a_chain_ends_after_a_score_below_a_number(data: Any, tmp_path: Path) -> None:
    study = toy.study(tmp_path, BELOW % ("{cams/select/miou: 0.6}", "0.01, 1.0, 0.1"))
    outcome, _ = toy.run(study, data)
    found = by_lr(study)
    assert [found[lr].status for lr in (0.01, 1.0, 0.1)] == ["done", "stopped", "stopped"]
    assert found[0.1].reason == "cams/select/miou 0.500 is below 0.6"
    store = Store(tmp_path / "store")
    assert store.get(found[0.1].keys["cams.scores"]) and not store.known(found[0.1].keys["pseudo_masks"])
    assert found[0.1].metrics == {"cams/select/miou": pytest.approx(0.5)}, "nothing of `report` is shown"
    assert len(outcome.stopped) == 2
    before = toy.table(study)
    _, executor = toy.run(study, data)
    assert not executor.jobs and toy.table(study) == before


def test_a_chain_ends_after_a_score_below_the_median(data: Any, tmp_path: Path) -> None:
    study = toy.study(tmp_path, BELOW % ("{median: 2}", "0.1, 0.05, 1.0, 0.02, 0.3"))
    toy.run(study, data)
    found = by_lr(study)
    assert [found[lr].status for lr in (0.1, 0.05, 1.0, 0.02, 0.3)] == [
        "done",
        "done",
        "stopped",
        "done",
        "stopped",
    ]
    q = toy.quality
    middle = sorted([q(0.1), q(0.05), q(1.0), q(0.02)])[1:3]
    assert found[0.3].reason == (
        f"cams/select/miou {q(0.3):.3f} is below {sum(middle) / 2:.3f}, the median of 4 trials"
    )


def test_an_arm_may_have_its_own_rule(data: Any, tmp_path: Path) -> None:
    stages = "stages: [classifier: {epochs: 2, lr: 1.0}, cams, pseudo_masks]"
    arms = f"{{strict: {{{stages}}}, free: {{stop_below: {{}}, {stages.replace('1.0', '0.9')}}}}}"
    study = toy.study(tmp_path, f"name: cam, stop_below: 0.5, arms: {arms}")
    toy.run(study, data)
    assert {r.arm: r.status for r in toy.records(study).values()} == {"strict": "stopped", "free": "done"}


def test_when_all_were_stopped_the_next_sweep_has_nothing_to_start_from(data: Any, tmp_path: Path) -> None:
    study = toy.study(tmp_path, BELOW % ("0.9", "1.0, 0.1"), "name: again, replicate: cam, seeds: [1]")
    outcome, _ = toy.run(study, data)
    assert len(outcome.stopped) == 2 and outcome.trials == 2


def test_nor_has_one_that_replicates_the_next_and_the_plan_knows_it(data: Any, tmp_path: Path) -> None:
    later = "name: next, stages: [pseudo_masks: {background_exponent: 9}]"
    study = toy.study(
        tmp_path, BELOW % ("0.9", "1.0, 0.1"), later, "name: again, replicate: next, seeds: [1]"
    )
    outcome, _ = toy.run(study, data)
    assert len(outcome.stopped) == 2 and outcome.trials == 2
    rows = forecast(study, data, Store(tmp_path / "store"))
    assert all(row["to_make"] == 0 for row in rows)


POWER = "search: {lr: {choice: [%s]}, power: {choice: [2, 4, 8]}}"
LAST = "pseudo_masks: {background_exponent: $power}"
SHARED_ASHA = (
    "name: cam, scheduler: {kind: asha, grace: 2, reduction: 2}, "
    + POWER
    + ", stages: [classifier: {epochs: 8, lr: $lr}, cams, "
    + LAST
    + "]"
)
SHARED_BELOW = (
    "name: cam, stop_below: {cams/select/miou: %s}, "
    + POWER
    + ", stages: [classifier: {epochs: 2, lr: $lr}, cams, pseudo_masks: {as: rough}, "
    + LAST
    + "]"
)


def epochs_of() -> dict[float, list[int]]:
    """Return learning rate → the epochs that were trained, in order."""
    found: dict[float, list[int]] = {}
    for lr, epoch in toy.EPOCHS_MADE:
        found.setdefault(lr, []).append(epoch)
    return found


def test_a_classifier_that_several_trials_share_is_judged_once_and_for_all(data: Any, tmp_path: Path) -> None:
    """As `test_asha_stops_the_worse_ones_at_its_rungs`, with three trials for every classifier."""
    study = toy.study(tmp_path, SHARED_ASHA % "0.01, 0.1, 0.02, 1.0")
    told = Told()
    outcome, executor = toy.run(study, data, observers=[told])
    assert {lr: epochs[-1] for lr, epochs in epochs_of().items()} == {0.01: 8, 0.1: 2, 0.02: 4, 1.0: 2}
    by_status: dict[float, set[tuple[str, int, str]]] = {}
    for record in toy.records(study).values():
        row = (record.status, record.rungs[-1][0], record.reason)
        by_status.setdefault(record.params["lr"], set()).add(row)
    assert by_status == {
        0.01: {("done", 8, "")},
        0.1: {("stopped", 2, "asha: rung score 0.250 after epoch 2 of 8")},
        0.02: {("stopped", 4, "asha: rung score 0.566 after epoch 4 of 8")},
        1.0: {("stopped", 2, "asha: rung score 0.000 after epoch 2 of 8")},
    }
    assert len(outcome.stopped) == 9 and len(executor.jobs) == 4 + 3, "nobody starts only to be stopped"
    shared = {job for job in executor.jobs if job.startswith("shared-")}
    assert {e.job for e in told.events if isinstance(e, SharedEnded)} == shared
    started = [e.trial.id for e in told.events if isinstance(e, TrialStarted)]
    ended = [e.trial.id for e in told.events if isinstance(e, TrialFinished)]
    assert sorted(started) == sorted(ended) == sorted(toy.records(study))

    before = toy.table(study)
    toy.EPOCHS_MADE.clear()
    _, executor = toy.run(study, data)
    assert not executor.jobs and toy.table(study) == before


def test_shared_work_after_a_score_that_is_too_low_is_not_done(data: Any, tmp_path: Path) -> None:
    study = toy.study(tmp_path, SHARED_BELOW % ("0.6", "0.01, 0.1"))
    toy.run(study, data)
    store = Store(tmp_path / "store")
    for record in toy.records(study).values():
        good = record.params["lr"] == 0.01
        assert record.status == ("done" if good else "stopped")
        assert bool(store.known(record.keys["rough"])) == good
        assert good or record.reason == "cams/select/miou 0.500 is below 0.6"


def test_trials_that_share_a_score_count_as_one_to_the_median(data: Any, tmp_path: Path) -> None:
    study = toy.study(tmp_path, SHARED_BELOW % ("{median: 2}", "0.01, 0.02, 0.1"))
    toy.run(study, data)
    found = {(r.params["lr"], r.status, r.reason) for r in toy.records(study).values()}
    middle = (toy.quality(0.01) + toy.quality(0.02)) / 2
    because = f"cams/select/miou 0.500 is below {middle:.3f}, the median of 2 trials"
    assert found == {(0.01, "done", ""), (0.02, "done", ""), (0.1, "stopped", because)}


def test_what_arms_share_goes_on_for_those_that_want_it(data: Any, tmp_path: Path) -> None:
    """Two arms with the same classifiers, of which one has rules of its own, and another name for them."""
    one = f"{{{POWER % '0.1, 1.0'}, stages: [classifier: {{epochs: 2, lr: $lr}}, cams, {LAST}]}}"
    other = one.replace("classifier: {", "classifier: {as: first, ").replace("cams,", "cams: {as: maps},")
    free = other.replace("{search", "{stop_below: {}, search")
    study = toy.study(tmp_path, f"name: cam, stop_below: 0.3, arms: {{strict: {one}, free: {free}}}")
    outcome, _ = toy.run(study, data)
    found = {(r.arm, r.params["lr"], r.status) for r in toy.records(study).values()}
    assert found == {
        ("strict", 0.1, "done"),
        ("strict", 1.0, "stopped"),
        ("free", 0.1, "done"),
        ("free", 1.0, "done"),
    }
    assert len(outcome.stopped) == 3
    assert epochs_of() == {0.1: [1, 2], 1.0: [1, 2]}


def test_a_search_stops_what_all_that_it_asks_for_have_in_common(data: Any, tmp_path: Path) -> None:
    sweep = (
        "name: cam, searcher: {kind: optuna, startup: 3}, samples: 4, stop_below: {cams/select/miou: 0.6},"
        " search: {power: {randint: [2, 60]}},"
        f" stages: [classifier: {{epochs: 2, lr: 0.1}}, cams, pseudo_masks: {{as: rough}}, {LAST}]"
    )
    study = toy.study(tmp_path, sweep)
    toy.run(study, data)
    assert [r.status for r in toy.records(study).values()] == ["stopped"] * 4
    rough = next(iter(toy.records(study).values())).keys["rough"]
    assert Store(tmp_path / "store").known(rough) is None


def test_a_budget_counts_trials_that_end_with_what_they_share(data: Any, tmp_path: Path) -> None:
    study = toy.study(tmp_path, SHARED_BELOW % ("0.6", "0.1, 0.01"))
    limited = study.model_copy(update={"budget": Budget(trials=2)})
    outcome, _ = toy.run(limited, data)
    assert outcome.budget == "2 of 2 trials" and len(outcome.stopped) == 2


@pytest.mark.parametrize("sweep", [
    SHARED_ASHA % "0.01, 0.1, 0.02, 1.0, 0.005",
    SHARED_BELOW % ("{median: 2}", "0.1, 0.05, 1.0, 0.02, 0.3"),
    SHARED_BELOW % ("0.6", "0.1, 0.01"),
    SHARED_ASHA.replace("choice: [2, 4, 8]", "randint: [2, 60]") % "0.01, 0.1, 0.02" + ", searcher: optuna, samples: 8",
    ASHA % "0.01, 0.1, 0.02, 1.0, 0.005",
    BELOW % ("{median: 2}", "0.1, 0.05, 1.0, 0.02, 0.3"),
    (ASHA % "0.01").replace("{choice: [0.01]}", "{loguniform: [0.0001, 1.0]}") + ", searcher: optuna, samples: 6",
])  # fmt: skip
@pytest.mark.parametrize("round_", range(3))
def test_interrupted_at_random_nothing_is_lost_or_doubled(
    sweep: str, round_: int, data: Any, tmp_path: Path
) -> None:
    calm = toy.study(tmp_path / "calm", sweep)
    toy.run(calm, data)
    study = toy.study(tmp_path / "stormy", sweep)
    rng = random.Random(round_)
    finished: dict[str, Any] = {}
    interrupted = True
    while interrupted:
        outcome, _ = toy.run(study, data, stop_after=rng.randrange(1, 40))
        interrupted = outcome.interrupted
        now = {id: row for id, row in toy.table(study).items() if row[3] in ("done", "stopped")}
        for id, row in finished.items():
            assert now[id][:7] == row[:7], "what had ended stays as it was"
        finished = now
    assert toy.table(study) == toy.table(calm)


def test_the_forecast_leaves_stopped_ones_out(data: Any, tmp_path: Path) -> None:
    study = toy.study(tmp_path, ASHA % "0.01, 0.1")
    toy.run(study, data)
    rows = forecast(study, data, Store(tmp_path / "store"))
    assert all(row["to_make"] == 0 for row in rows)


def test_the_forecast_starts_from_what_was_kept_when_a_seed_was_stopped(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best configuration has a seed that was stopped, so that another one went on."""
    quality, asked = toy.quality, list[float]()

    def by_turns(lr: float) -> float:
        asked.append(lr)
        return 0.1 if lr == 0.01 and asked.count(lr) > 2 else quality(lr)

    monkeypatch.setattr(toy, "quality", by_turns)
    sweep = (BELOW % ("0.3", "0.01, 0.1")).replace("search:", "seeds: [1, 2], search:")
    study = toy.study(tmp_path, sweep, "name: next, stages: [pseudo_masks: {background_exponent: 9}]")
    outcome, _ = toy.run(study, data)
    assert outcome.stopped == ["cam-cam-000-s2"]
    kept = [record.id for record in toy.records(study).values() if record.kept]
    assert kept == ["cam-cam-001-s1", "cam-cam-001-s2", "next-cam-001-s1-000", "next-cam-001-s2-000"]
    rows = forecast(study, data, Store(tmp_path / "store"))
    assert [row["to_make"] for row in rows if row["to_make"]] == []
