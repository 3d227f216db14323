"""How much of a comparison is tuning: the best of k configurations, few masks, and choosing without masks.

All of it from scores that the storage holds; nothing is trained or predicted.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

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
from wsss.metrics.few_masks import Counts
from wsss.metrics.intervals import bootstrap_of_marginals
from wsss.metrics.seeds import interval_of
from wsss.pipeline.chains.chain import SCORES_FILE
from wsss.pipeline.past.stored_studies import find_study
from wsss.report.cells import SAMPLES
from wsss.report.compare import baseline_of
from wsss.report.comparison import LEVEL
from wsss.report.tuned.few_masks import FewMasks, few_masks
from wsss.report.tuned.selectors import Selected, selections
from wsss.store.folder_store import Store
from wsss.store.ledger import TrialRecord
from wsss.store.storage import open_storage

Floats = npt.NDArray[np.float64]
SELECT = "/select/miou"


@dataclass(frozen=True)
class Run:
    """One seed of a configuration: its scores as shares in [0, 1], and its counts by image and threshold.

    `select` are the counts on `select`, `report` those on the reported images; of older records, which have
    no curves, the threshold that was chosen is the only one. `place` is its number among the thresholds.
    """

    trial: TrialRecord
    select: Counts
    report: Counts
    place: int
    thresholds: int
    ids: tuple[list[str], list[str]]
    draws: Floats
    curves: bool
    """Whether all thresholds are known that might have been chosen: of masks, which have none, always."""


@dataclass(frozen=True)
class Configuration:
    """One that was tried: its seeds that ended well, and the score that a sweep ranks it by; NaN without."""

    name: str
    runs: tuple[Run, ...]
    select: float

    @property
    def report(self) -> float:
        if not self.runs:
            return float("nan")
        return float(np.mean([_miou_at(run.report, run.place) for run in self.runs]))

    @property
    def draws(self) -> Floats:
        """float64[SAMPLES], the reported score on resampled images."""
        if not self.runs:
            return np.full(SAMPLES, np.nan)
        draws: Floats = np.stack([run.draws for run in self.runs]).mean(0)
        return draws


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
        arm: [_configuration(name, [*seeds.values()], step, store) for name, seeds in configurations.items()]
        for arm, configurations in arms.items()
    }
    base = found.get(reference) or next(
        (c for arm, c in found.items() if arm.startswith(f"{reference}+")), []
    )
    return [
        _row(study, sweep, arm, step, configurations, [] if base is configurations else base)
        for arm, configurations in found.items()
    ]


def _configuration(name: str, trials: Sequence[TrialRecord], step: str, store: Store) -> Configuration:
    runs = tuple(run for trial in trials if (run := _run(trial, step, store)) is not None)
    if len(runs) < len(trials):  # a seed was stopped or failed: the sweep keeps none of them
        return Configuration(name, (), float("nan"))
    return Configuration(name, runs, float(np.mean([_miou_at(run.select, run.place) for run in runs])))


def _run(trial: TrialRecord, step: str, store: Store) -> Run | None:
    key = trial.keys.get(f"{step}.scores")
    if key is None or trial.status != "done":
        return None
    content, confusions = store.read_json(key, SCORES_FILE), store.read(key, "confusions.npz")
    if content is None or confusions is None:
        return None
    part = "report" if "report" in content else "test"
    with np.load(io.BytesIO(confusions), allow_pickle=False) as arrays:
        if "select" not in arrays or part not in arrays:
            return None
        counts = {name: arrays[name] for name in ("select", part)}
        ids = tuple(arrays[f"{name}_ids"].tolist() for name in ("select", part))
    files = store.known(key)
    curves = store.read(key, "curves.npz") if files and "curves.npz" in files.record["files"] else None
    place, thresholds, by_part = 0, 1, {name: _counts(value) for name, value in counts.items()}
    if curves is not None:
        with np.load(io.BytesIO(curves), allow_pickle=False) as arrays:
            for name in counts:
                true = counts[name].sum(-1)
                by_part[name] = Counts(arrays[f"{name}_hits"], arrays[f"{name}_predicted"], true)
        thresholds = by_part[part].hits.shape[1]
        place = round(100 * float(content[part]["threshold"]))
    report = by_part[part]
    draws = bootstrap_of_marginals(
        report.hits[:, place], report.true, report.predicted[:, place], seed=0, samples=SAMPLES
    )
    known = curves is not None or content[part].get("threshold") is None
    return Run(trial, by_part["select"], report, place, thresholds, (ids[0], ids[1]), draws, known)


def _counts(confusions: npt.NDArray[Any]) -> Counts:
    """Return the counts of what has no threshold, or only one."""
    hits = np.diagonal(confusions, axis1=-2, axis2=-1)
    return Counts(hits[:, None], confusions.sum(-2)[:, None], confusions.sum(-1))


def _miou_at(counts: Counts, place: int) -> float:
    part = Counts(counts.hits[:, place : place + 1], counts.predicted[:, place : place + 1], counts.true)
    return float(part.mious(np.ones((1, len(counts.true))))[0, 0])


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
    own = next((arm for arm in sweep.arms if arm.name in (label, label.rpartition("+")[2], sweep.name)), None)
    if own is None or not own.search or own.samples is None or sweep.searcher.kind != "random":
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
