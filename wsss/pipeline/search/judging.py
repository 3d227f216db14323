"""When the driver gives up on a trial: a scheduler's judgement of its epochs, or a score that is too low.

Both look at `select` images alone. The driver decides, in this process and on a cluster alike, so that
a trial stops for the same reasons in both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from wsss.config import Scheduler, StopRule, Study, Sweep
from wsss.config.naming import SELECT_MIOU
from wsss.config.stage import STAGES
from wsss.data.view import DataView
from wsss.errors import ConfigError, Problem
from wsss.pipeline.chains.chain import Node
from wsss.pipeline.events import Event, StageFinished, TrialProgress
from wsss.pipeline.search.arms import arm_of
from wsss.pipeline.search.trials import Trial
from wsss.stages.kinds.scoring.scores import SCORES_FILE
from wsss.stages.step_metrics import RUNG_SCORE
from wsss.store.folder_store import Store
from wsss.store.ledger import TrialRecord


class Judge(Protocol):
    """A scheduler's rule for the trials of one arm."""

    def record(self, trial: str, epoch: int, score: float) -> None:
        """Record the rung scores of a trial that can no longer be stopped."""

    def stops(self, trial: str, epoch: int, score: float) -> bool:
        """Record the rung scores of a trial; return whether it should stop here."""


JudgeFactory = Callable[[Scheduler, int], Judge]
"""From a scheduler and the epochs of an arm's classifier to its judge."""


class Subject(NamedTuple):
    """The key of one verdict: it holds for all trials of an arm whose chains contain this artefact."""

    arm: str
    key: str


@dataclass
class _Course:
    """A classifier's rung scores by epoch. Its judge knows it by `name`."""

    name: str
    rungs: dict[int, float] = field(default_factory=dict)


class Verdicts:
    """Which trials of a running sweep stop, and the scores that decide it.

    Trials of an arm that share a classifier count as one, named after the first of them: the driver judges
    it once, for all of them. So do trials that share a score, or the whole chain.

    Args:
        sweep: the sweep, with its scheduler and rules.
        store: where scores and classifiers are.
        judges: from a scheduler and an arm's epochs to its rule; None if no sweep has a scheduler.
    """

    def __init__(self, sweep: Sweep, store: Store, judges: JudgeFactory | None) -> None:
        self._sweep = sweep
        self._store = store
        self._judges = judges
        self._of_arm: dict[str, Judge] = {}
        self._scores: dict[tuple[str, str], dict[str, float]] = {}
        """(arm, metric) → key of a score artefact → value."""
        self._courses: dict[Subject, _Course] = {}
        self._reasons: dict[Subject, str] = {}
        """Why a classifier was stopped, or a whole chain, whose subject is its last artefact."""

    @property
    def judged(self) -> bool:
        """Whether a scheduler looks at epochs."""
        return self._sweep.scheduler.rule is not None and not self._sweep.replicate

    def rungs(self, trial: Trial) -> list[tuple[int, float]]:
        """Return (epoch, rung score) of a trial's judged classifier, oldest first."""
        node = self._classifier(trial)
        course = self._courses.get(Subject(trial.info.arm, node.key)) if node else None
        return sorted(course.rungs.items()) if course else []

    def stopped(self, trial: Trial) -> str:
        """Return why a trial stops; empty when it goes on."""
        return self._reasons.get(_whole(trial), "")

    def stopped_all(self, trials: Sequence[Trial]) -> bool:
        """Whether all of these trials stop; False for no trials."""
        return bool(trials) and all(self.stopped(trial) for trial in trials)

    def classifier_stopped(self, trial: Trial) -> str:
        """Return why another trial with the same classifier stopped; empty when none did."""
        node = self._classifier(trial)
        if node is None or self._store.known(node.key) is not None:
            return ""
        return self._reasons.get(Subject(trial.info.arm, node.key), "")

    def remember(self, trial: Trial, known: TrialRecord | None = None) -> None:
        """Record what the storage holds of a trial: its end, from the ledger, and its artefacts."""
        for node in trial.chain.nodes:
            value = self._score(node)
            if value is not None:
                metric = f"{next(iter(node.inputs.values()))}/{SELECT_MIOU}"
                self._scores.setdefault((trial.info.arm, metric), {})[node.key] = value
        judged = self._classifier(trial)
        if judged is None:
            return
        artefact = self._store.known(judged.key)
        history = artefact.record["history"] if artefact else ()
        rungs = {n: m[RUNG_SCORE] for n, m in enumerate(history, start=1) if RUNG_SCORE in m}
        course = self._course(trial, judged)
        for epoch, score in sorted({**rungs, **dict(known.rungs if known else ())}.items()):
            if epoch not in course.rungs:
                course.rungs[epoch] = score
                self._judge(trial, judged).record(course.name, epoch, score)
        if known and known.status == "stopped":
            self._reasons[Subject(trial.info.arm, judged.key)] = known.reason

    def on_event(self, trial: Trial, event: Event) -> None:
        """Judge a trial after an event of its own, or of a job that works for it: see `stopped`."""
        if self.stopped(trial):
            return
        reason = ""
        if isinstance(event, TrialProgress):
            reason = self._after_epoch(trial, event)
        elif isinstance(event, StageFinished) and event.stage != trial.chain.nodes[-1].label:
            reason = self._after_stage(trial, event)
        if reason:
            self._reasons[_whole(trial)] = reason

    def _after_epoch(self, trial: Trial, event: TrialProgress) -> str:
        node = self._classifier(trial)
        if node is None or event.stage != node.label or RUNG_SCORE not in event.metrics:
            return ""
        course = self._course(trial, node)
        if event.step in course.rungs:  # reported again after its process had died, or for another trial
            return self.classifier_stopped(trial)
        score = course.rungs[event.step] = event.metrics[RUNG_SCORE]
        judge = self._judge(trial, node)
        # A classifier that is finished has nothing left to save by stopping it.
        if event.step >= event.steps or (event.replayed and self._store.known(node.key) is not None):
            judge.record(course.name, event.step, score)
            return ""
        if not judge.stops(course.name, event.step, score):
            return ""
        reason = self._reasons[Subject(trial.info.arm, node.key)] = (
            f"{self._sweep.scheduler.kind}: rung score {score:.3f} after epoch {event.step} of {event.steps}"
        )
        return reason

    def _course(self, trial: Trial, node: Node) -> _Course:
        """Return the rung scores so far of a trial's classifier, under the name that its judge knows."""
        return self._courses.setdefault(Subject(trial.info.arm, node.key), _Course(trial.info.id))

    def _after_stage(self, trial: Trial, event: StageFinished) -> str:
        node = trial.chain[event.stage]
        if not node.is_score:
            return ""
        scored = next(iter(node.inputs.values()))
        arm = arm_of(self._sweep, trial.info.arm) if self._sweep.arms else None
        own = arm.stop_below if arm is not None else None
        for rule in self._sweep.stop_below if own is None else own:
            if rule.metric == f"{scored}/{SELECT_MIOU}":
                return self._too_low(trial, rule, node)
        return ""

    def _too_low(self, trial: Trial, rule: StopRule, node: Node) -> str:
        value = self._score(node)
        if value is None:
            return ""
        known = self._scores.setdefault((trial.info.arm, rule.metric), {})
        others = [score for key, score in known.items() if key != node.key]
        known[node.key] = value
        if rule.below is not None:
            low = value < rule.below
            return f"{rule.metric} {value:.3f} is below {rule.below:g}" if low else ""
        if len(others) < rule.min_trials:
            return ""
        median = float(np.median(others))
        if value >= median:
            return ""
        return f"{rule.metric} {value:.3f} is below {median:.3f}, the median of {len(others)} trials"

    def _score(self, node: Node) -> float | None:
        """Return the mIoU on `select` images that a score artefact holds, in [0, 1], if it exists."""
        if not node.is_score:
            return None
        scores: Mapping[str, Any] = self._store.read_json(node.key, SCORES_FILE) or {}
        value = scores.get("select", {}).get("miou")
        return None if value is None else float(value)

    def _classifier(self, trial: Trial) -> Node | None:
        """Return the last classifier of a trial's chain, if a scheduler judges it."""
        if not self.judged:
            return None
        return next((node for node in reversed(trial.chain.nodes) if STAGES[node.stage].judged), None)

    def _judge(self, trial: Trial, node: Node) -> Judge:
        """Return the judge of an arm: each has its own, so that no arm stops the trials of another."""
        if trial.info.arm not in self._of_arm:
            assert self._judges is not None, "a sweep with a scheduler needs somebody who makes judges"
            params: Any = node.params
            self._of_arm[trial.info.arm] = self._judges(self._sweep.scheduler, params.epochs)
        return self._of_arm[trial.info.arm]


def _whole(trial: Trial) -> Subject:
    """Return the subject of a whole chain: trials of an arm with equal chains have the same."""
    return Subject(trial.info.arm, trial.chain.nodes[-1].key)


def check_rungs(study: Study, data: DataView) -> None:
    """Refuse a scheduler on images without masks: there would be no rung scores to judge by."""
    if data.has_masks:
        return
    for sweep in study.sweeps:
        if sweep.scheduler.judges:
            message = f"`{sweep.scheduler.kind}` judges by masks of `select` images, but there are none"
            raise ConfigError(Problem(f"sweep {sweep.name}", message, "use `scheduler: fifo`"))
