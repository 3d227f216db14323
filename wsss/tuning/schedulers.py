"""Schedulers: Ray Tune's own rules, asked by the driver and told nothing but rung scores.

`wsss.config.tuning` says what a study file may ask for and is where a misspelt argument is refused
(Ray's own factory drops it without a word). The rules need no cluster: they judge a local run too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wsss.config import Scheduler
from wsss.config.tuning import Asha, Hyperband, Median
from wsss.pipeline.judging import Judge
from wsss.tuning import cluster as _environment  # noqa: F401 - sets Ray's environment first

from ray.tune.schedulers import (  # isort: skip
    ASHAScheduler,
    AsyncHyperBandScheduler,
    MedianStoppingRule,
    TrialScheduler,
)

TIME = "rung_epoch"
METRIC = "rung_score"


def make_scheduler(scheduler: Scheduler, epochs: int) -> TrialScheduler:
    """Return Ray's scheduler for classifiers of so many epochs. Raises `ValueError` for one that has no
    rule of its own."""
    common: dict[str, Any] = {"time_attr": TIME, "metric": METRIC, "mode": "max"}
    if isinstance(scheduler, Median):
        return MedianStoppingRule(
            **common,
            grace_period=scheduler.grace,
            min_samples_required=scheduler.min_trials,
            min_time_slice=10**9,  # never pause: it would only wait for others
        )
    if isinstance(scheduler, Asha | Hyperband):
        common |= {
            "grace_period": scheduler.grace,
            "reduction_factor": scheduler.reduction,
            "max_t": epochs,
            "stop_last_trials": False,  # after the last epoch there are still CAMs to make
        }
        if isinstance(scheduler, Asha):
            return ASHAScheduler(**common)
        return AsyncHyperBandScheduler(**common, brackets=scheduler.brackets)
    raise ValueError(f"{scheduler.kind} judges nothing")


def make_judge(scheduler: Scheduler, epochs: int) -> Judge:
    """Return the judge of one arm, whose classifiers have so many epochs."""
    return RayJudge(make_scheduler(scheduler, epochs))


@dataclass(frozen=True)
class _Subject:
    """All that a scheduler looks at of a trial besides its results."""

    trial_id: str


class RayJudge:
    """A scheduler of Ray's that is handed rung scores one by one."""

    def __init__(self, scheduler: TrialScheduler) -> None:
        self._scheduler: Any = scheduler
        self._subjects: dict[str, _Subject] = {}

    def _subject(self, trial: str) -> _Subject:
        if trial not in self._subjects:
            self._subjects[trial] = _Subject(trial)
            self._scheduler.on_trial_add(None, self._subjects[trial])
        return self._subjects[trial]

    def record(self, trial: str, epoch: int, score: float) -> None:
        """Learn how a trial fared that can no longer be stopped."""
        subject = self._subject(trial)
        result = {TIME: epoch, METRIC: score}
        if isinstance(self._scheduler, MedianStoppingRule):
            self._scheduler.on_trial_complete(None, subject, result)  # keeps it, and says nothing
        else:
            self._scheduler.on_trial_result(None, subject, result)

    def stops(self, trial: str, epoch: int, score: float) -> bool:
        """Learn how a trial fared, and say whether it should end here."""
        result = {TIME: epoch, METRIC: score}
        decision = self._scheduler.on_trial_result(None, self._subject(trial), result)
        return bool(decision == TrialScheduler.STOP)
