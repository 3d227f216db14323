"""The configurations that a sweep tried, with the counts that the storage holds of their scores."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wsss.metrics.few_masks import ThresholdCounts
from wsss.metrics.intervals import bootstrap_of_marginals
from wsss.pipeline.chains.chain import score_label
from wsss.report.cells import SAMPLES
from wsss.report.readings import read_score
from wsss.stages.kinds.scoring.scores import CURVES_FILE
from wsss.store.folder_store import Store
from wsss.store.ledger import TrialRecord

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Run:
    """One seed of a configuration: its scores as shares in [0, 1], and its counts by image and threshold.

    `select` are the counts on `select`, `report` those on the reported images; of older records, which have
    no curves, the threshold that was chosen is the only one. `place` is its number among the thresholds.
    """

    trial: TrialRecord
    select: ThresholdCounts
    report: ThresholdCounts
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


def configuration_of(name: str, trials: Sequence[TrialRecord], step: str, store: Store) -> Configuration:
    """Return a configuration with the counts of its seeds' scores.

    Args:
        name: of the configuration.
        trials: its seeds.
        step: the step whose scores count.
        store: holds them.
    """
    runs = tuple(run for trial in trials if (run := _run(trial, step, store)) is not None)
    if len(runs) < len(trials):  # a seed was stopped or failed: the sweep keeps none of them
        return Configuration(name, (), float("nan"))
    return Configuration(name, runs, float(np.mean([_miou_at(run.select, run.place) for run in runs])))


def _run(trial: TrialRecord, step: str, store: Store) -> Run | None:
    key = trial.keys.get(score_label(step))
    if key is None or trial.status != "done":
        return None
    score = read_score(key, store, select=True)
    if score is None or score.select is None:
        return None
    place, select, report = 0, _counts(score.select), _counts(score.counts)
    artefact = store.known(key)
    curves = store.read(key, CURVES_FILE) if artefact and CURVES_FILE in artefact.record["files"] else None
    if curves is not None:
        with np.load(io.BytesIO(curves), allow_pickle=False) as arrays:
            select = ThresholdCounts(arrays["select_hits"], arrays["select_predicted"], select.true)
            report = ThresholdCounts(
                arrays[f"{score.part}_hits"], arrays[f"{score.part}_predicted"], report.true
            )
        place = round(100 * float(score.reported["threshold"]))
    return Run(
        trial,
        select,
        report,
        place=place,
        thresholds=report.hits.shape[1],
        ids=(score.chosen_on, score.ids),
        draws=bootstrap_of_marginals(
            report.hits[:, place], report.true, report.predicted[:, place], seed=0, samples=SAMPLES
        ),
        curves=curves is not None or score.reported.get("threshold") is None,
    )


def _counts(confusions: npt.NDArray[Any]) -> ThresholdCounts:
    """Return the counts of what has no threshold, or only one."""
    hits = np.diagonal(confusions, axis1=-2, axis2=-1)
    return ThresholdCounts(hits[:, None], confusions.sum(-2)[:, None], confusions.sum(-1))


def _miou_at(counts: ThresholdCounts, place: int) -> float:
    part = ThresholdCounts(
        counts.hits[:, place : place + 1], counts.predicted[:, place : place + 1], counts.true
    )
    return float(part.mious(np.ones((1, len(counts.true))))[0, 0])
