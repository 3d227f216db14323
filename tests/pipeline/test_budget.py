"""Budgets end a study cleanly, count over all its runs, and lose nothing that was finished."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import toys
from command_line import in_process

from wsss.config import Budget, DataSpec, Resources, StageUse, Study, Sweep, load_study_text
from wsss.config.search import parse_distribution
from wsss.config.tuning import GridSearch
from wsss.errors import ConfigError
from wsss.pipeline import study as study_module
from wsss.pipeline.events import Event, TrialProgress
from wsss.pipeline.executor import Job, Listener
from wsss.pipeline.local import LocalExecutor
from wsss.pipeline.outcome import Outcome
from wsss.pipeline.past.stored_studies import check_same_content
from wsss.pipeline.search.budget import Spent, describe, spent_so_far
from wsss.pipeline.study import StudyRun
from wsss.store.folder_store import Store
from wsss.store.ledger import Ledger

STEP = 600.0


class Clock:
    """Seconds, ten minutes more after every step of a stage."""

    def __init__(self) -> None:
        self.now = 1e6

    def __call__(self) -> float:
        return self.now

    def on_event(self, event: Event) -> None:
        if isinstance(event, TrialProgress):
            self.now += STEP

    def close(self) -> None: ...


class Gpus(LocalExecutor):
    """Runs toys on the CPU whatever a trial asks for, as many at a time as there are jobs in a pair."""

    def preflight(self, resources: Sequence[Resources]) -> list[Any]:
        return []

    def run(self, jobs: Sequence[Job], resources: Resources, listener: Listener) -> None:
        super().run(jobs, Resources(cpu=resources.cpu), listener)


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    found = toys.install(monkeypatch)
    monkeypatch.setattr(study_module, "check_same_content", lambda *_: None)  # toys can't be read back
    return found


def toy_study(storage: Path, *, gpu: float = 0, trials: int = 3, **budget: Any) -> Study:
    """Three trials of four steps, of ten minutes each."""
    adds, _, _ = parse_distribution({"choice": [float(n + 1) for n in range(trials)]})
    assert adds is not None
    source = StageUse(stage="source", params={"add": "$add"}, name="source")
    sweep = Sweep(
        name="toy",
        stages=(source,),
        search={"add": adds},
        searcher=GridSearch(),
        resources=Resources(gpu=gpu),
    )
    data = DataSpec(dataset="sample")
    return Study(
        name="toy", data=data, sweeps=(sweep,), storage=storage, retain="all", budget=Budget(**budget)
    )


def run(study: Study, data: Any) -> Outcome:
    clock = Clock()
    executor = Gpus(Store(study.storage / "store"), data)
    return StudyRun(study, data, executor, [clock], clock=clock).run()


def totals(storage: Path) -> list[float]:
    return sorted(json.loads(path.read_text()) for path in storage.glob("store/??/*/total.json"))


def steps() -> list[str]:
    return list(toys.Source.made)


def test_hours_stop_between_two_steps_and_count_over_runs(tmp_path: Path, data: Any) -> None:
    study = toy_study(tmp_path / "a", hours=1.0)
    first = run(study, data)
    assert first.interrupted
    assert first.budget == "1 of 1 hours" and first.budget_key == "hours"
    assert len(steps()) == 6, "the first trial, and two steps of the second"
    assert [t.status for t in Ledger(tmp_path / "a/studies/toy").trials().values()] == [
        "done",
        "started",
        "started",
    ]

    still = run(study, data)
    assert still.interrupted and len(steps()) == 6, "nothing is left of the hour"

    more = study.model_copy(update={"budget": Budget(hours=1.5)})
    second = run(more, data)
    assert second.budget == "1.5 of 1.5 hours"
    assert steps()[6:] == ["2.0:2", "2.0:3", "3.0:0"], "goes on at the third step, from a checkpoint"

    last = run(study.model_copy(update={"budget": Budget()}), data)
    assert not last.interrupted and not last.budget
    assert len(steps()) == 12, "no step was done twice"
    assert run(toy_study(tmp_path / "b"), data).trials == 3
    assert totals(tmp_path / "a") == totals(tmp_path / "b")
    spent = spent_so_far(study, Store(tmp_path / "a/store"))
    assert spent.hours == pytest.approx(2.0) and spent.trials == 3 and spent.gpu_hours == 0


def test_gpu_hours_count_what_trials_hold_shared_and_unfinished_work_too(tmp_path: Path, data: Any) -> None:
    study = toy_study(tmp_path, gpu=0.5, gpu_hours=0.25)
    outcome = run(study, data)
    assert outcome.budget == "0.25 of 0.25 GPU hours"
    assert len(steps()) == 3, "half an hour on half a GPU"
    assert spent_so_far(study, Store(tmp_path / "store")).gpu_hours == pytest.approx(0.25)
    outcome = run(study.model_copy(update={"budget": Budget(gpu_hours=0.5)}), data)
    assert outcome.budget == "0.5 of 0.5 GPU hours" and len(steps()) == 6


def test_trials_count_those_that_were_computed_and_never_one_twice(tmp_path: Path, data: Any) -> None:
    study = toy_study(tmp_path, trials=2)
    limited = study.model_copy(update={"budget": Budget(trials=1)})
    assert run(limited, data).budget == "1 of 1 trials"
    assert len(steps()) == 4
    assert run(limited, data).budget == "1 of 1 trials"
    assert len(steps()) == 4, "the one it found was free, there is no other"
    enough = study.model_copy(update={"budget": Budget(trials=2)})
    assert not run(enough, data).interrupted
    assert not run(enough, data).interrupted, "a finished study has nothing that a budget could stop"


def test_a_failed_trial_is_paid_for_once(tmp_path: Path, data: Any) -> None:
    study = toy_study(tmp_path, trials=1)
    failing = StageUse(stage="source", params={"fail_at": 2}, name="source")
    sweep = study.sweeps[0].model_copy(update={"stages": (failing,), "search": {}})
    study = study.model_copy(update={"sweeps": (sweep,), "budget": Budget(trials=1)})
    for _ in range(2):
        outcome = run(study, data)
        assert outcome.failed and not outcome.interrupted
    assert spent_so_far(study, Store(tmp_path / "store")).trials == 1


def test_disk_counts_what_the_study_made_and_is_still_there(tmp_path: Path, data: Any) -> None:
    free = toy_study(tmp_path)
    store = Store(tmp_path / "store")
    run(free.model_copy(update={"budget": Budget(trials=1)}), data)
    size = next(iter(store)).bytes
    assert size > 10
    limited = free.model_copy(update={"budget": Budget(disk_gb=1.5 * size / 1e9)})
    outcome = run(limited, data)
    assert outcome.budget_key == "disk_gb" and len(list(store)) == 2
    for artefact in list(store):
        store.evict(artefact.key)
    assert spent_so_far(free, store).disk_gb == 0
    other = free.model_copy(update={"name": "other", "budget": Budget(disk_gb=1e-9)})
    assert not run(other, data).computed or spent_so_far(other, store).disk_gb > 0


def test_a_killed_driver_forgets_a_minute_at_most(tmp_path: Path, data: Any) -> None:
    study = toy_study(tmp_path)

    class Killed(BaseException):
        pass

    class Killer(Clock):
        def on_event(self, event: Event) -> None:
            super().on_event(event)
            if len(steps()) == 6:
                raise Killed

    clock = Killer()
    driver = StudyRun(study, data, Gpus(Store(tmp_path / "store"), data), [clock], clock=clock)
    driver.session.meter._ledger = SimpleNamespace(append=_until(clock, driver.session.ledger))  # type: ignore[assignment]
    with pytest.raises(Killed):
        driver.run()
    spent = spent_so_far(study, Store(tmp_path / "store"))
    assert 5 * STEP <= spent.hours * 3600 < 6 * STEP, (
        "noted after every ten-minute step; the last one is lost"
    )


def _until(clock: Clock, ledger: Ledger) -> Any:
    """Write to the ledger only while the driver lives: up to the sixth step."""

    def append(kind: str, **content: Any) -> None:
        if len(steps()) < 6:
            ledger.append(kind, **content)

    return append


def test_a_limit_that_is_reached_with_the_last_step_stops_nothing(tmp_path: Path, data: Any) -> None:
    study = toy_study(tmp_path, trials=1, hours=4 * STEP / 3600)
    outcome = run(study, data)
    assert not outcome.interrupted and len(totals(tmp_path)) == 1


def test_amounts_are_said_as_people_read_them() -> None:
    spent = Spent(hours=2.123, gpu_hours=0.5, trials=7, disk_gb=1.2345)
    budget = Budget(hours=2, gpu_hours=1, trials=7, disk_gb=200)
    assert describe("hours", spent, budget) == "2.12 of 2 hours"
    assert describe("disk_gb", spent, budget) == "1.23 of 200 GB of disk"
    assert spent.over(budget) == "hours"
    assert spent.over(Budget(gpu_hours=1)) == ""
    assert spent.over(Budget(trials=7)) == "trials"


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ("{hours: 0}", "`hours` is 0, but must be greater than 0"),
        ("{gpus: 3}", "unknown key `gpus` (did you mean 'gpu_hours'?)"),
        ("{trials: 1.5}", "`trials` is 1.5"),
        ("{disk_gb: .inf}", "`disk_gb` is inf"),
    ],
)
def test_a_budget_is_checked_when_the_study_is_read(tiny_study_text: str, budget: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_study_text(tiny_study_text + f"budget: {budget}\n", source="tiny.yaml", base=Path("/"))
    assert message in str(caught.value)


def test_a_budget_may_change_under_the_same_name_and_nothing_else(
    tiny_study_text: str, tmp_path: Path
) -> None:
    def load(*overrides: str) -> Study:
        return load_study_text(
            tiny_study_text, source="tiny.yaml", base=tmp_path, overrides=overrides, storage=str(tmp_path)
        )

    study = load("budget.hours=1")
    assert study.budget == Budget(hours=1)
    from wsss.config import dump_study
    from wsss.files import write_atomic

    again = load_study_text(dump_study(study), source="x", base=tmp_path, storage=str(tmp_path))
    assert again == study
    write_atomic(tmp_path / "studies/tiny/study.yaml", dump_study(study))
    write_atomic(tmp_path / "studies/tiny/data.json", "{}")  # work has begun
    check_same_content(load())
    check_same_content(load("budget.hours=2", "budget.trials=3"))
    with pytest.raises(ConfigError, match=r"\+seed: 1"):
        check_same_content(load("budget.hours=2", "seed=1"))


@pytest.mark.long
def test_from_the_command_line_it_says_what_was_used_and_how_to_go_on(
    tiny_study: Path, tmp_path: Path
) -> None:
    storage = tmp_path / "runs"
    words = ("--local", "--storage", storage)
    done = in_process("run", tiny_study, *words, "-s", "budget.trials=1")
    assert done.returncode == 130, done.stderr
    assert "Stopped: the budget is used up, 1 of 1 trials. Nothing finished is lost." in done.stdout
    assert "`resume tiny -s budget.trials=MORE` goes on" in done.stdout
    plan = in_process("plan", "tiny", "--storage", storage)
    assert "1 used + 4 left of 1 trials: NOT ENOUGH" in plan.stdout, plan.stdout
    last = in_process("resume", "tiny", *words, "-s", "budget.trials=null", "--json")
    assert last.returncode == 0, last.stderr
    assert json.loads(last.stdout)["budget"] == ""
    assert len(Ledger(storage / "studies/tiny").trials()) == 5
