"""Schedulers: Ray Tune's own rules, which the driver asks and to which it reports rung scores alone.

`wsss.config.tuning` says what a study file may ask for and is where a misspelt argument is refused
(Ray's own factory drops it without a word). The rules need no cluster: they judge a local run too.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from wsss.config import Scheduler
from wsss.config.tuning import Asha, Hyperband, Median
from wsss.pipeline.search.judging import Judge
from wsss.plugins import loaded
from wsss.stages.step_metrics import RUNG_SCORE
from wsss.tuning.joining import cluster as _environment  # noqa: F401 - sets Ray's environment first

from ray.tune.schedulers import (  # isort: skip
    ASHAScheduler,
    AsyncHyperBandScheduler,
    MedianStoppingRule,
    TrialScheduler,
)

TIME = "rung_epoch"
COMMON: dict[str, Any] = {"time_attr": TIME, "metric": RUNG_SCORE, "mode": "max"}


def median(scheduler: Median, epochs: int) -> TrialScheduler:
    """Return the median rule for classifiers of so many epochs."""
    never: Any = math.inf  # a pause would only wait for other trials
    return MedianStoppingRule(
        **COMMON,
        min_time_slice=never,
        grace_period=scheduler.grace,
        min_samples_required=scheduler.min_trials,
    )


def asha(scheduler: Asha, epochs: int) -> TrialScheduler:
    """Return successive halving for classifiers of so many epochs."""
    return ASHAScheduler(**COMMON, **_halving(scheduler, epochs))


def hyperband(scheduler: Hyperband, epochs: int) -> TrialScheduler:
    """Return asynchronous Hyperband for classifiers of so many epochs."""
    return AsyncHyperBandScheduler(**COMMON, **_halving(scheduler, epochs), brackets=scheduler.brackets)


def _halving(scheduler: Asha | Hyperband, epochs: int) -> dict[str, Any]:
    return {
        "grace_period": scheduler.grace,
        "reduction_factor": scheduler.reduction,
        "max_t": epochs,
        "stop_last_trials": False,  # after the last epoch there are still CAMs to make
    }


def make_scheduler(scheduler: Scheduler, epochs: int) -> TrialScheduler | Judge:
    """Return the rule that judges classifiers of so many epochs. Raises `ValueError` for a scheduler
    without one."""
    if scheduler.rule is None:
        raise ValueError(f"{scheduler.kind} judges nothing")
    found: TrialScheduler | Judge = loaded(scheduler.rule)(scheduler, epochs)
    return found


def make_judge(scheduler: Scheduler, epochs: int) -> Judge:
    """Return the judge of one arm, whose classifiers have so many epochs."""
    found = make_scheduler(scheduler, epochs)
    return RayJudge(found) if isinstance(found, TrialScheduler) else found


@contextmanager
def _numpy_seeded(name: str) -> Iterator[None]:
    state = np.random.get_state()  # noqa: NPY002 - Ray draws from the global state
    np.random.seed(zlib.crc32(name.encode()))  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


@dataclass(frozen=True)
class _Subject:
    """The attributes of a trial that Ray's schedulers read, besides its results."""

    trial_id: str


class RayJudge:
    """Feeds rung scores to one of Ray's schedulers, one by one."""

    def __init__(self, scheduler: TrialScheduler) -> None:
        self._scheduler: Any = scheduler
        # Of a finished trial, the median rule keeps the last result; the others forget it.
        quiet = isinstance(scheduler, MedianStoppingRule)
        self._record: Any = self._scheduler.on_trial_complete if quiet else self._scheduler.on_trial_result
        self._subjects: dict[str, _Subject] = {}

    def _subject(self, trial: str) -> _Subject:
        if trial not in self._subjects:
            self._subjects[trial] = _Subject(trial)
            with _numpy_seeded(trial):  # a bracket is drawn: the same one for the same trial, always
                self._scheduler.on_trial_add(None, self._subjects[trial])
        return self._subjects[trial]

    def record(self, trial: str, epoch: int, score: float) -> None:
        """Record the score of a trial that can no longer be stopped."""
        self._record(None, self._subject(trial), {TIME: epoch, RUNG_SCORE: score})

    def stops(self, trial: str, epoch: int, score: float) -> bool:
        """Record the score of a trial; return whether it should stop here."""
        result = {TIME: epoch, RUNG_SCORE: score}
        decision = self._scheduler.on_trial_result(None, self._subject(trial), result)
        return bool(decision == TrialScheduler.STOP)
