"""The cells of a comparison: scores with intervals, paired differences, and what stands after correction."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from wsss.metrics import bootstrap_mious, estimate, holm, miou
from wsss.report.comparison import LEAST_IMAGES, LEVEL, Cell, Difference, Row
from wsss.report.readings import Score, Scores

SAMPLES = 1000
"""Resamples of images behind an interval."""


def mark_across(cell: Cell, baseline: bool, control: bool) -> Cell:
    """Return a cell whose differences say whether they are to a row that rests on other kinds of labels."""
    one, other = cell.to_baseline, cell.to_control
    return replace(
        cell,
        to_baseline=one and replace(one, across=baseline),
        to_control=other and replace(other, across=control),
    )


def by_step(scores: Mapping[int, Scores], steps: Sequence[str]) -> dict[str, dict[int, Score]]:
    """Return step → seed → score, of the steps that any seed has, in order."""
    found = {step: {seed: one[step] for seed, one in scores.items() if step in one} for step in steps}
    return {step: mine for step, mine in found.items() if mine}


def cells_of(
    mine: Mapping[str, Mapping[int, Score]],
    base: Mapping[int, Scores],
    controls: Mapping[int, Scores],
    once: Sequence[bool] = (False, False, False),
) -> dict[str, Cell]:
    """Return step → cell; a step's `to_before` is against the step that comes before it.

    Args:
        mine: step → seed → score.
        base: seed → the scores of the baseline; empty where this is it.
        controls: the same of the control.
        once: of the differences to the baseline, the control and the step before: whether something behind
            them was made once, whatever the seed.
    """
    cells = {}
    before: Mapping[int, Score] = {}
    for step, scores in mine.items():
        base_step, controls_step = (by_step(them, [step]).get(step, {}) for them in (base, controls))
        cells[step] = _cell(scores, (base_step, controls_step, before), once)
        before = scores
    return cells


def _cell(mine: Mapping[int, Score], others: Sequence[Mapping[int, Score]], once: Sequence[bool]) -> Cell:
    scores = list(mine.values())
    values, draws = _resampled(scores)
    low, high, _ = estimate(values, draws, level=LEVEL)
    low, high = (min(max(bound, 0.0), 1.0) for bound in (low, high))  # few seeds reach further than scores do

    pairs = zip(others, once, strict=True)
    to_baseline, to_control, to_before = (_difference(mine, other, made_once) for other, made_once in pairs)
    said = [one.reported for one in scores]

    def of_part(part: str, name: str) -> float | None:
        return _mean_or_none([one.content.get(part, {}).get(name) for one in scores])

    def mean(name: str) -> float | None:
        return _mean_or_none([part.get(name) for part in said])

    return Cell(
        float(values.mean()),
        low,
        high,
        to_baseline,
        to_control,
        to_before,
        threshold=mean("threshold"),
        at_015=mean("miou_at_0.15"),
        at_020=mean("miou_at_0.20"),
        published=of_part("published", "miou"),
        area=mean("area"),
        pxap=mean("pxap"),
        select=of_part("select", "miou"),
        precision=mean("precision"),
        recall=mean("recall"),
        boundary_f=mean("boundary_f"),
        false_positive=mean("false_positive"),
        false_negative=mean("false_negative"),
        confused=mean("confused"),
        per_class={name: _mean_or_none([part["iou"].get(name) for part in said]) for name in said[0]["iou"]},
    )


def _difference(mine: Mapping[int, Score], theirs: Mapping[int, Score], once: bool) -> Difference | None:
    """Return the difference, None between scores of different images. Paired by image, and by seed as far
    as both have it; without a seed in common, the means over seeds are compared and the seeds' own
    spread is left out."""
    if not theirs or not next(iter(theirs.values())).same_images(next(iter(mine.values()))):
        return None
    common = [seed for seed in mine if seed in theirs]
    if common:
        values, draws = _resampled([mine[seed] for seed in common])
        their_values, their_draws = _resampled([theirs[seed] for seed in common])
    else:
        values, draws = (part.mean(0, keepdims=True) for part in _resampled(list(mine.values())))
        their_values, their_draws = (
            part.mean(0, keepdims=True) for part in _resampled(list(theirs.values()))
        )
    low, high, p = estimate(values - their_values, draws - their_draws, level=LEVEL)
    # Resampling few images shows too little spread: such a difference is never tested.
    seeds = len(common) if len(next(iter(mine.values())).ids) >= LEAST_IMAGES else 0
    seeds = min(seeds, 1) if once else seeds
    return Difference(float((values - their_values).mean()), low, high, p, seeds=seeds)


def corrected(rows: Sequence[Row], steps: Sequence[str]) -> tuple[Row, ...]:
    """Return the rows with p-values adjusted for the number of differences at each step that are tested
    (Holm)."""
    result = list(rows)
    for step, to in itertools.product(steps, ("to_baseline", "to_control", "to_before")):
        found = {n: getattr(row.cells[step], to) for n, row in enumerate(result) if step in row.cells}
        found = {
            n: difference for n, difference in found.items() if difference is not None and difference.tested
        }
        adjusted = holm([difference.p for difference in found.values()])
        for (n, difference), p in zip(found.items(), adjusted, strict=True):
            cell = replace(result[n].cells[step], **{to: replace(difference, p_adjusted=p)})
            result[n] = replace(result[n], cells={**result[n].cells, step: cell})
    return tuple(result)


def _resampled(scores: Sequence[Score]) -> tuple[np.ndarray, np.ndarray]:
    """Return float64[S], the mIoU of each seed, and float64[S, SAMPLES] of it on resampled images.

    The resamples are the same for every seed and arm. NaN are those in which everything is ignored.
    """
    values = np.array([miou(one.counts.sum(0)) for one in scores])
    draws = np.stack([bootstrap_mious(one.counts, seed=0, samples=SAMPLES) for one in scores])
    return values, draws


def _mean_or_none(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return float(np.mean(numbers)) if numbers else None
