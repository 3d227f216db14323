"""How much of a comparison is tuning: the best of k configurations, few masks, and choosing without masks.

All of it from scores that the storage holds; nothing is trained or predicted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from wsss.config import Study, Sweep
from wsss.config.naming import SELECT_MIOU
from wsss.config.text.location import Location
from wsss.metrics.best_of import (
    BestOf,
    appears_only_with_more,
    best_of,
    best_of_draws,
    spread_of,
    within_shares,
)
from wsss.metrics.seeds import interval_of
from wsss.pipeline.past.stored_studies import find_study
from wsss.pipeline.past.tried import values_trained
from wsss.pipeline.search.arms import arm_of, comes_from
from wsss.report.compare import baseline_of
from wsss.report.comparison import LEVEL
from wsss.report.tuned.configurations import Configuration, Floats, Run, configuration_of
from wsss.report.tuned.few_masks import FewMasks, few_masks
from wsss.report.tuned.selectors import Selected, selections
from wsss.store.folder_store import Store
from wsss.store.ledger import TrialRecord
from wsss.store.storage import open_storage

SELECT = f"/{SELECT_MIOU}"


@dataclass(frozen=True)
class Gap:
    """A difference to the baseline, as a share in [-1, 1], with both intervals of `BestOf`."""

    mean: float
    low: float
    high: float
    other_low: float | None = None
    other_high: float | None = None


@dataclass(frozen=True)
class TuningRow:
    """One arm in one sweep.

    Args:
        study: the study.
        sweep: the sweep in which it was chosen.
        arm: the arm.
        step: the step whose `select` score chooses and whose reported score is shown.
        tried: configurations, those that were stopped or failed too.
        scored: of them, those that have a score.
        seeds: of each configuration, the fewest.
        drawn: whether the configurations were drawn independently.
        members: of a population, whose `tried` counts all values that they were trained with; 0 of none.
        best_of: by k, where it is known.
        gaps: k → difference to the baseline, both at the best of k.
        as_tuned: the difference to the baseline, each arm at the best of all that it tried.
        only_with_more: the last stands and, at equal numbers of configurations, it does not.
        few_masks: what choosing with fewer masks would have reported.
        selected: what choosing by other scores would have reported.
    """

    study: str
    sweep: str
    arm: str
    step: str
    tried: int
    scored: int
    seeds: int
    drawn: bool
    best_of: tuple[BestOf, ...]
    gaps: Mapping[int, Gap]
    as_tuned: Gap | None
    only_with_more: bool
    few_masks: tuple[FewMasks, ...]
    selected: tuple[Selected, ...]
    members: int = 0


@dataclass(frozen=True)
class Tuning:
    """All rows, those of a sweep together, its baseline first if it has one; `baseline` is that arm's
    name."""

    rows: tuple[TuningRow, ...]
    baseline: str


def tuning(location: Location, names: Sequence[str], baseline: str | None = None) -> Tuning:
    """Return what the storage tells of the tuning of studies.

    Raises `ConfigError` for an unknown study or baseline.
    """
    storage = open_storage(location)
    rows: list[TuningRow] = []
    studies = {name: find_study(name, location) for name in names}
    records = {name: storage.ledger(name).trials() for name in names}
    reference = baseline_of(baseline, [trial for trials in records.values() for trial in trials.values()])
    for name, study in studies.items():
        for sweep in study.sweeps:
            if not sweep.replicate and sweep.metric and sweep.metric.endswith(SELECT):
                rows += _sweep_rows(study, sweep, records[name], storage.store, reference)
    return Tuning(tuple(rows), reference)


@dataclass(frozen=True)
class _Tuned:
    """The configurations that an arm tried in a sweep; `drawn`: independently of each other.

    `changed` counts the sets of values that a population was trained with, 0 of what is none: its members
    came out of each other, so that nobody knows the best of fewer.
    """

    arm: str
    configurations: Sequence[Configuration]
    drawn: bool
    changed: int = 0

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.configurations)

    @cached_property
    def select(self) -> Floats:
        """float64[N], the scores that choose; NaN of those that were stopped or failed."""
        return np.array([one.select for one in self.configurations])

    @cached_property
    def report(self) -> Floats:
        """float64[N], the scores that are reported."""
        return np.array([one.report for one in self.configurations])

    @cached_property
    def draws(self) -> Floats:
        """float64[N, SAMPLES], the reported scores on resampled images."""
        return np.stack([one.draws for one in self.configurations])

    @property
    def runs(self) -> list[Run]:
        """The seeds of all configurations that have a score."""
        return [run for one in self.configurations for run in one.runs]

    def same_images(self, other: _Tuned) -> bool:
        """Whether both were scored on the same images, as far as there are scores."""
        runs = [*self.runs, *other.runs]
        return bool(runs) and all(
            run.ids[1] == runs[0].ids[1] and np.array_equal(run.report.true, runs[0].report.true)
            for run in runs
        )


def _sweep_rows(
    study: Study, sweep: Sweep, records: Mapping[str, TrialRecord], store: Store, reference: str
) -> list[TuningRow]:
    step = str(sweep.metric).removesuffix(SELECT)
    arms: dict[str, dict[str, dict[int, TrialRecord]]] = {}
    for trial in records.values():
        if trial.sweep == sweep.name and trial.status != "started":
            # A study that was extended by seeds may have a seed under two names: the later one stays.
            arms.setdefault(trial.arm, {}).setdefault(trial.configuration, {})[trial.seed] = trial
    found = {}
    for arm, configurations in arms.items():
        tried = [
            configuration_of(name, [*seeds.values()], step, store) for name, seeds in configurations.items()
        ]
        trials = [trial for seeds in configurations.values() for trial in seeds.values()]
        changed = len(set[str]().union(*map(values_trained, trials)))
        found[arm] = _Tuned(arm, tried, _are_drawn(sweep, arm, tried), changed)
    base = found.get(reference) or next(
        (tuned for arm, tuned in found.items() if comes_from(arm, reference)), None
    )
    pairs = [(mine, None if mine is base else base) for mine in found.values()]
    return [_row(study.name, sweep.name, step, mine, other) for mine, other in pairs]


def _row(study: str, sweep: str, step: str, mine: _Tuned, base: _Tuned | None) -> TuningRow:
    """Return the row of an arm, compared with another one; None: with none."""
    numbers = [mine.size] if mine.changed else range(1, mine.size + 1)
    points = [best_of(mine.select, mine.report, mine.draws, k, drawn=mine.drawn) for k in numbers]
    points = [point and replace(point, k=mine.changed or point.k) for point in points]
    gaps: dict[int, Gap] = {}
    as_tuned, only = None, False
    if base is not None and base.runs and mine.same_images(base):
        both = min(mine.size, base.size)
        for k in () if mine.changed or base.changed else range(1, both + 1):
            gap = _gap(mine, k, base, k, drawn=mine.drawn and base.drawn)
            if gap is not None:
                gaps[k] = gap
        as_tuned = _gap(mine, mine.size, base, base.size, drawn=False)
        equal = gaps.get(both)
        if as_tuned is not None and equal is not None and mine.size != base.size:
            only = appears_only_with_more((as_tuned.low, as_tuned.high), (equal.low, equal.high))
    seeds = [len(one.runs) for one in mine.configurations if one.runs]
    return TuningRow(
        study=study,
        sweep=sweep,
        arm=mine.arm,
        step=step,
        tried=mine.changed or mine.size,
        scored=len(seeds),
        seeds=min(seeds, default=0),
        drawn=mine.drawn,
        best_of=tuple(within_shares(point) for point in points if point is not None),
        gaps=gaps,
        as_tuned=as_tuned,
        only_with_more=only,
        few_masks=few_masks(mine.configurations),
        selected=selections(mine.configurations),
        members=mine.size if mine.changed else 0,
    )


def _are_drawn(sweep: Sweep, label: str, configurations: Sequence[Configuration]) -> bool:
    """Whether an arm's configurations are independent draws: of a random search, after one upstream
    choice."""
    own = arm_of(sweep, label)
    if not own.search or own.samples is None or sweep.searcher.kind != "random":
        return False
    upstream = {run.trial.upstream.rpartition("-s")[0] for one in configurations for run in one.runs}
    return len(upstream) <= 1 and sweep.scheduler.kind != "pbt"


def _gap(mine: _Tuned, k: int, base: _Tuned, base_k: int, *, drawn: bool) -> Gap | None:
    """Return the difference of the best of `k` of one arm to the best of `base_k` of another, paired by
    image; with `drawn` also its interval over further draws."""
    found, resampled, spreads = [], [], []
    for tuned, number in ((mine, k), (base, base_k)):
        point = best_of(tuned.select, tuned.report, tuned.draws, number, drawn=False)
        if point is None:
            return None
        found.append(point.score)
        resampled.append(best_of_draws(tuned.select, tuned.draws, number))
        spreads.append(spread_of(tuned.select, tuned.report, number) if drawn else None)
    difference = resampled[0] - resampled[1]
    difference = difference[~np.isnan(difference)]
    if not len(difference):
        return None
    low, high = np.quantile(difference, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    gap = Gap(found[0] - found[1], float(low), float(high))
    first, second = spreads
    if first is None or second is None:
        return gap
    (one, freedom), (other, others_freedom) = first, second
    total = one + other
    # Welch and Satterthwaite: the two arms' configurations were drawn independently.
    joined = total**2 / (one**2 / freedom + other**2 / others_freedom) if total else freedom
    lower, higher = interval_of(gap.mean, float(difference.var()), total, joined, level=LEVEL)
    return replace(gap, other_low=lower, other_high=higher)
