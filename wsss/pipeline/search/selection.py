"""Which trials of a sweep go on: per arm, the best configurations with all their seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from wsss.config import Sweep
from wsss.pipeline.search.arms import arm_of
from wsss.pipeline.search.sampling import best_configurations
from wsss.pipeline.search.trials import Trial

Metrics = Mapping[str, float]
T = TypeVar("T")


class Kept(Generic[T]):
    """What the sweeps of a study so far have kept, which the next one starts from.

    Args:
        base: what the first sweep starts from; empty without a base.
    """

    def __init__(self, base: Sequence[T]) -> None:
        self._last = list(base)
        self._of: dict[str, list[T]] = {}

    def before(self, sweep: Sweep) -> list[T]:
        """Return what a sweep starts from: what the sweep before it kept, or the one that it replicates."""
        return self._of[sweep.replicate] if sweep.replicate else self._last

    def add(self, sweep: Sweep, kept: Sequence[T]) -> None:
        """Note what a sweep has kept."""
        self._last = self._of[sweep.name] = list(kept)


def kept_trials(sweep: Sweep, trials: Sequence[Trial], metrics: Mapping[str, Metrics]) -> list[Trial]:
    """Return the trials that a later sweep starts from.

    `metrics` maps the id of every finished trial to its metrics; trials without an entry don't go
    on. A sweep without a metric keeps all that finished.
    """
    done = [trial for trial in trials if trial.info.id in metrics]
    if not sweep.metric:
        return done
    kept: list[Trial] = []
    for arm in dict.fromkeys(trial.info.arm for trial in done):
        mine = [trial for trial in done if trial.info.arm == arm]
        names = list(dict.fromkeys(trial.configuration for trial in mine))
        scores = {
            number: [
                metrics[trial.info.id][sweep.metric]
                for trial in mine
                if trial.configuration == name and sweep.metric in metrics[trial.info.id]
            ]
            for number, name in enumerate(names)
        }
        for number in best_configurations(scores, keep_of(sweep, arm)):
            kept.extend(trial for trial in mine if trial.configuration == names[number])
    return kept


def keep_of(sweep: Sweep, label: str) -> int:
    """Return how many configurations of an arm go on, by its label through all sweeps."""
    return arm_of(sweep, label).keep or sweep.keep
