"""A run on Ray stops between two steps when the driver says so; the rest is done later, from there."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsss.config import load_study
from wsss.data.view import open_data
from wsss.pipeline.chains.execute import run_chain
from wsss.pipeline.events import Event, StepPart, TrialProgress
from wsss.pipeline.executor import Job
from wsss.pipeline.search.trials import sweep_trials
from wsss.store.folder_store import Store

pytestmark = pytest.mark.timeout(600)


class StopsAfter:
    """A listener whose budget is used up after two steps and a word of what is between them."""

    def __init__(self) -> None:
        self.steps: list[TrialProgress] = []
        self.parts: list[StepPart] = []
        self.ended_jobs: list[str] = []

    def started(self, job: str) -> None: ...

    def event(self, event: Event) -> bool:
        if isinstance(event, TrialProgress):
            self.steps.append(event)
        return True

    def part(self, part: StepPart) -> None:
        self.parts.append(part)

    def ended(self, job: str, error: str) -> None:
        self.ended_jobs.append(job)

    def stopping(self) -> bool:
        return len(self.steps) >= 2 and (bool(self.parts) or len(self.steps) > 25)


@pytest.mark.long
def test_a_trial_on_ray_leaves_a_checkpoint_when_it_is_stopped(
    tiny_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wsss.tuning.executor import RayExecutor

    tiny_study.write_text(tiny_study.read_text().replace("epochs: 3", "epochs: 30"))
    study = load_study(tiny_study, storage=str(tmp_path / "runs"))
    data = open_data(study.data, storage=study.storage)
    sweep = study.sweeps[0]
    trial = sweep_trials(study, sweep, (), data)[0]
    executor = RayExecutor(study, None, data)
    executor.watched = True
    listener = StopsAfter()
    try:
        assert all(check.state == "ok" for check in executor.preflight([sweep.resources]))
        executor.run([Job(trial.info.id, trial.chain)], sweep.resources, listener)
    finally:
        executor.close()
    assert not listener.ended_jobs, "it has no result, and is no failure"
    part = listener.parts[0]
    assert (part.trial, part.stage, part.steps) == (trial.info.id, "classifier", 30)
    assert 0 <= part.step < 30 and 1 <= part.part <= part.parts, "the batches of an epoch"
    store = Store(study.storage / "store")
    key = trial.keys["classifier"]
    (newest,) = sorted(store.root.glob(f"partial/{key}/step-*"))[-1:]
    saved = int(newest.name.removeprefix("step-"))
    assert 2 <= saved < 30, "stopped early, and nothing of what was done is lost"

    going_on = run_chain("again", trial.chain, store, data, device="cpu", threads=1)
    # What a scheduler would have seen of the earlier epochs is told again first.
    event = next(event for event in going_on if not (isinstance(event, TrialProgress) and event.replayed))
    going_on.close()
    assert isinstance(event, TrialProgress)
    assert (event.stage, event.step) == ("classifier", saved + 1)
