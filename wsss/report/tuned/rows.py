"""How much of a comparison is tuning: the best of k configurations, few masks, and choosing without masks.

All of it from scores that the storage holds; nothing is trained or predicted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from wsss.config import Study, Sweep
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
from wsss.pipeline.search.arms import arm_of, comes_from
from wsss.report.compare import baseline_of
from wsss.report.comparison import LEVEL
from wsss.report.tuned.configurations import Configuration, configuration_of
from wsss.report.tuned.few_masks import FewMasks, few_masks
from wsss.report.tuned.selectors import Selected, selections
from wsss.store.folder_store import Store
from wsss.store.ledger import TrialRecord
from wsss.store.storage import open_storage

SELECT = "/select/miou"


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
    every: list[TrialRecord] = []
    for name in names:
        study = find_study(name, location)
        storage.require(name)
        every += storage.ledger(name).trials().values()
    reference = baseline_of(baseline, every)
    for name in names:
        study = find_study(name, location)
        records = storage.ledger(name).trials()
        for sweep in study.sweeps:
            if not sweep.replicate and sweep.metric and sweep.metric.endswith(SELECT):
                rows += _sweep_rows(study, sweep, records, storage.store, reference)
    return Tuning(tuple(rows), reference)


def _sweep_rows(
    study: Study, sweep: Sweep, records: Mapping[str, TrialRecord], store: Store, reference: str
) -> list[TuningRow]:
    step = str(sweep.metric).removesuffix(SELECT)
    arms: dict[str, dict[str, dict[int, TrialRecord]]] = {}
    for trial in records.values():
        if trial.sweep == sweep.name and trial.status != "started":
            # A study that was extended by seeds may have a seed under two names: the later one stays.
            arms.setdefault(trial.arm, {}).setdefault(trial.configuration, {})[trial.seed] = trial
    found = {
        arm: [
            configuration_of(name, [*seeds.values()], step, store) for name, seeds in configurations.items()
        ]
        for arm, configurations in arms.items()
    }
    base = found.get(reference) or next((c for arm, c in found.items() if comes_from(arm, reference)), [])
    return [
        _row(study, sweep, arm, step, configurations, [] if base is configurations else base)
        for arm, configurations in found.items()
    ]


def _row(
    study: Study,
    sweep: Sweep,
    arm: str,
    step: str,
    mine: Sequence[Configuration],
    base: Sequence[Configuration],
) -> TuningRow:
    drawn = _drawn(sweep, arm, mine)
    select, report = (np.array([getattr(one, part) for one in mine]) for part in ("select", "report"))
    draws = np.stack([one.draws for one in mine])
    points = [best_of(select, report, draws, k, drawn=drawn) for k in range(1, len(mine) + 1)]
    base_arm = next((run.trial.arm for one in base for run in one.runs), None)
    base = base if base_arm is not None and _same_images([*mine, *base]) else []
    gaps: dict[int, Gap] = {}
    as_tuned, only = None, False
    if base and base_arm is not None:
        base_drawn = _drawn(sweep, base_arm, base)
        for k in range(1, min(len(mine), len(base)) + 1):
            gap = _gap(mine, k, base, k, drawn=drawn and base_drawn)
            if gap is not None:
                gaps[k] = gap
        as_tuned = _gap(mine, len(mine), base, len(base), drawn=False)
        equal = gaps.get(min(len(mine), len(base)))
        if as_tuned is not None and equal is not None and len(mine) != len(base):
            only = appears_only_with_more((as_tuned.low, as_tuned.high), (equal.low, equal.high))
    return TuningRow(
        study.name,
        sweep.name,
        arm,
        step,
        len(mine),
        sum(bool(one.runs) for one in mine),
        min((len(one.runs) for one in mine if one.runs), default=0),
        drawn,
        tuple(within_shares(point) for point in points if point is not None),
        gaps,
        as_tuned,
        only,
        few_masks(mine),
        selections(mine),
    )


def _drawn(sweep: Sweep, label: str, configurations: Sequence[Configuration]) -> bool:
    """Whether an arm's configurations are independent draws: of a random search, after one upstream
    choice."""
    own = arm_of(sweep, label)
    if not own.search or own.samples is None or sweep.searcher.kind != "random":
        return False
    upstream = {run.trial.upstream.rpartition("-s")[0] for one in configurations for run in one.runs}
    return len(upstream) <= 1 and sweep.scheduler.kind != "pbt"


def _same_images(configurations: Sequence[Configuration]) -> bool:
    runs = [run for one in configurations for run in one.runs]
    return bool(runs) and all(
        run.ids[1] == runs[0].ids[1] and np.array_equal(run.report.true, runs[0].report.true) for run in runs
    )


def _gap(
    mine: Sequence[Configuration], k: int, base: Sequence[Configuration], base_k: int, *, drawn: bool
) -> Gap | None:
    """Return the difference of the best of k of one arm to the best of `base_k` of another, paired by
    image."""
    found, resampled, spreads = [], [], []
    for configurations, number in ((mine, k), (base, base_k)):
        select, report = (
            np.array([getattr(c, part) for c in configurations]) for part in ("select", "report")
        )
        draws = np.stack([one.draws for one in configurations])
        point = best_of(select, report, draws, number, drawn=False)
        if point is None:
            return None
        found.append(point.score)
        resampled.append(best_of_draws(select, draws, number))
        spreads.append(spread_of(select, report, number) if drawn else None)
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
