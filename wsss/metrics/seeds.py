"""How sure a mean over seeds is, and which of many differences survive being many.

Two things vary: the images that happen to be scored, the same for every seed, and what a seed happens
to train. Both enter the error of a mean over seeds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.optimize import brentq

SMALLEST = 1e-12
"""Smaller p-values are not told apart."""
Floats = npt.NDArray[np.float64]


def estimate(values: Floats, draws: Floats, *, level: float = 0.95) -> tuple[float, float, float]:
    """Return (low, high, p): an interval around the mean of `values`, and the two-sided p of its being 0.

    `values` float[S] is a score, or a paired difference of scores, per seed; `draws` float[S, R] the same
    on R resamples of the images, the same resamples for every seed. NaN are resamples without a score.

    One seed: the percentile interval of its resamples; nothing is known of other seeds. Several: the
    standard error of both together times a quantile between the normal and Student's, weighted by their
    variances (Cochran and Cox, 1950). With three seeds that covers the truth as often as it says, which
    t with Satterthwaite's degrees of freedom does not.
    """
    resampled = draws.mean(0)
    resampled = resampled[~np.isnan(resampled)]
    if not len(resampled):
        return float("nan"), float("nan"), float("nan")
    mean, images = float(values.mean()), float(resampled.var())
    if len(values) == 1:
        low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high), _p(mean, images, 0.0, 1)
    seeds = float(values.var(ddof=1)) / len(values)
    reach = _reach(1 - level, images, seeds, len(values))
    return mean - reach, mean + reach, _p(mean, images, seeds, len(values))


def _reach(p: float, images: float, seeds: float, count: int) -> float:
    """Return how far from the mean the bound of a two-sided interval lies; `images` and `seeds` are the
    two variances of the mean."""
    if images + seeds == 0:
        return 0.0
    student = float(stats.t.isf(p / 2, count - 1)) if seeds else 0.0
    quantile = (float(stats.norm.isf(p / 2)) * images + student * seeds) / (images + seeds)
    return quantile * float(np.sqrt(images + seeds))


def _p(mean: float, images: float, seeds: float, count: int) -> float:
    """Return the p at which the interval's bound is 0."""
    if images + seeds == 0:
        return 1.0 if mean == 0 else 0.0
    if abs(mean) >= _reach(SMALLEST, images, seeds, count):
        return SMALLEST
    return float(brentq(lambda p: _reach(p, images, seeds, count) - abs(mean), SMALLEST, 1.0))


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number (Holm, 1979), in the same order, each at most 1."""
    order = np.argsort(values, kind="stable")
    adjusted = np.empty(len(values))
    largest = 0.0
    for rank, position in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[position]))
        adjusted[position] = largest
    return [float(value) for value in adjusted]
