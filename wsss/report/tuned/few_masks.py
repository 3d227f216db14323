"""Would fewer masks have been enough? What choosing with 1, 2, 5, … masks a class would have reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wsss.metrics.few_masks import choose_with
from wsss.metrics.intervals import bootstrap_of_marginals
from wsss.report.cells import SAMPLES
from wsss.report.comparison import LEVEL

if TYPE_CHECKING:
    from wsss.report.tuned.configurations import Configuration

MASKS_A_CLASS = (1, 2, 5, 10, 20, 50)


@dataclass(frozen=True)
class FewMasks:
    """What choosing threshold and configuration with `masks` masks of each class reports, as shares in [0,
    1].

    `score` is the mean over ways to draw the masks, `low` and `high` its 95 % interval over reported images;
    one draw in twenty reports `unlucky` or less. `images` counts those drawn in all, on average. `masks` 0
    stands for all `select` masks.
    """

    masks: int
    images: float
    score: float
    low: float
    high: float
    unlucky: float
    exact: bool


def few_masks(tried: Sequence[Configuration]) -> tuple[FewMasks, ...]:
    """Return what fewer masks would have reported, for the numbers of masks a class that there are, and all.

    Nothing where there is nothing to choose, without counts at every threshold (scores of older versions),
    and where configurations were scored on different images.
    """
    scored = [one for one in tried if one.runs]
    runs = [run for one in scored for run in one.runs]
    if not runs or not all(run.curves and run.thresholds == runs[0].thresholds for run in runs):
        return ()
    if len(scored) == 1 and runs[0].thresholds == 1:
        return ()
    if any(
        run.ids != runs[0].ids or not np.array_equal(run.select.true, runs[0].select.true) for run in runs
    ):
        return ()
    present = runs[0].select.true[:, 1:] > 0
    if not present.any():
        return ()
    most = int(present.sum(0).max())
    select = [[run.select for run in one.runs] for one in scored]
    curves = [[run.report.mious(np.ones((1, len(run.report.true))))[0] for run in one.runs] for one in scored]
    found = []
    for masks in [*(number for number in MASKS_A_CLASS if number < most), most]:
        chosen = choose_with(masks, present, select, curves)
        draws = np.zeros(SAMPLES)
        for (place, seed, threshold), share in chosen.shares.items():
            report = scored[place].runs[seed].report
            counts = (report.hits[:, threshold], report.true, report.predicted[:, threshold])
            draws += share * bootstrap_of_marginals(*counts, seed=0, samples=SAMPLES)
        low, high = np.nanquantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        unlucky = float(np.quantile(chosen.reported, 0.05))
        score = float(chosen.reported.mean())
        named = 0 if masks == most else masks
        found.append(FewMasks(named, chosen.images, score, float(low), float(high), unlucky, chosen.exact))
    return tuple(found)
