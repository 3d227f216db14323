"""How sure a mean over seeds is, and which of many differences survive being many.

Two things vary: the images that happen to be scored, the same for every seed, and what a seed happens
to train. Both enter the error of a mean over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from wsss.metrics.student import normal_quantile, root, t_quantile, t_tail

SMALLEST = 1e-12
"""Smaller p-values are reported as this one."""
STUDENTS_POWER = 1.25
"""Of the seeds' share of the variance, when it weights Student's quantile; 1 is Cochran and Cox's rule."""
Floats = npt.NDArray[np.float64]


def estimate(values: Floats, draws: Floats, *, level: float = 0.95) -> tuple[float, float, float]:
    """Return (low, high, p): an interval around the mean of `values`, and the two-sided p of its being 0.

    One seed: the percentile interval of its resamples; nothing is known of other seeds. Several: the
    standard error of both together times a quantile between the normal and Student's. Cochran and Cox (1950)
    weight the two by their variances, and cover the truth too often where both matter (with three seeds in
    97.1 % of cases at worst); t with Satterthwaite's degrees of freedom covers too seldom (92.2 %). Here
    Student's weight is its share of the variance to the power of 5/4, found by simulation: three or more
    seeds cover in 94.7 to 96.5 % of cases, two in 93.1 to 97.1 %.

    Args:
        values: float[S], a score, or a paired difference of scores, per seed.
        draws: float[S, R], the same on R resamples of the images, which are the same for every seed; NaN
            where a resample has no score.
        level: of the interval, in (0, 1).

    Examples:
        Three seeds, each resampled with an error of half a point:

        >>> values = np.array([40.1, 41.3, 40.6])
        >>> draws = values[:, None] + np.random.default_rng(0).normal(0, 0.5, (3, 1000))
        >>> low, high, p = estimate(values, draws)
        >>> round(low, 1), round(high, 1), p < 0.001
        (39.2, 42.1, True)
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
    low, high = interval_of(mean, images, seeds, len(values) - 1, level=level)
    return low, high, _p(mean, images, seeds, len(values))


def interval_of(
    value: float, images: float, trainings: float, freedom: float, *, level: float = 0.95
) -> tuple[float, float]:
    """Return (low, high) around an estimate with two sources of error.

    Args:
        value: the estimate.
        images: its variance over images, known from resampling.
        trainings: its variance over trainings (seeds, configurations), from a few of them.
        freedom: degrees of freedom of the second.
        level: of the interval, in (0, 1).
    """
    reach = _reach(1 - level, images, trainings, freedom)
    return value - reach, value + reach


def _weight(images: float, seeds: float) -> float:
    """Return how much Student's quantile counts, in [0, 1]."""
    return float((seeds / (images + seeds)) ** STUDENTS_POWER)


def _reach(p: float, images: float, seeds: float, freedom: float) -> float:
    """Return how far from the mean the bound of a two-sided interval lies; `images` and `seeds` are the
    two variances of the mean."""
    if images + seeds == 0:
        return 0.0
    student = t_quantile(p / 2, freedom) if seeds else 0.0
    weight = _weight(images, seeds)
    return ((1 - weight) * normal_quantile(p / 2) + weight * student) * math.sqrt(images + seeds)


def _p(mean: float, images: float, seeds: float, count: int) -> float:
    """Return the p at which the interval's bound is 0."""
    if images + seeds == 0:
        return 1.0 if mean == 0 else 0.0
    freedom = max(count - 1, 1)  # of one seed nothing varies
    if abs(mean) >= _reach(SMALLEST, images, seeds, freedom):
        return SMALLEST
    distance = abs(mean) / math.sqrt(images + seeds)
    if not seeds:
        return math.erfc(distance / math.sqrt(2))
    weight = _weight(images, seeds)

    def beyond(student: float) -> float:
        normal = normal_quantile(t_tail(student, freedom))
        return (1 - weight) * normal + weight * student - distance

    return 2 * t_tail(root(beyond, t_quantile(SMALLEST / 2, freedom)), freedom)


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number (Holm, 1979), in the same order, each at most 1.

    Examples:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(values, kind="stable")
    adjusted = np.empty(len(values))
    largest = 0.0
    for rank, position in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[position]))
        adjusted[position] = largest
    return [float(value) for value in adjusted]
