"""Student's and the normal distribution in plain Python: loading scipy takes longer than a table does."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist


def t_tail(x: float, freedom: float) -> float:
    """Return P(T > x) for x ≥ 0 of Student's t; right to 1e-15.

    For whole degrees of freedom it is a short sum (Abramowitz and Stegun, 1964, 26.7.3 and 26.7.4); only for
    others scipy is asked.

    Examples:
        >>> round(t_tail(4.302652729, 2), 6)
        0.025
    """
    if freedom != int(freedom):
        from scipy import stats  # takes a second

        return float(stats.t.sf(x, freedom))
    root = math.hypot(x, math.sqrt(freedom))
    sine, cosine = x / root, math.sqrt(freedom) / root
    freedom = int(freedom)
    odd = freedom % 2
    term, total = (cosine, 0.0) if odd else (1.0, 0.0)
    for k in range(1 + odd, freedom, 2):
        total += term
        term *= cosine**2 * k / (k + 1)
    within = sine * total
    if odd:
        within = 2 / math.pi * (math.atan2(x, math.sqrt(freedom)) + within)
    return max(0.0, (1 - within) / 2)


def t_quantile(tail: float, freedom: float) -> float:
    """Return the x ≥ 0 with P(T > x) = `tail`, which is in (0, 0.5]."""
    if freedom != int(freedom):
        from scipy import stats

        return float(stats.t.isf(tail, freedom))
    high = 1.0
    while t_tail(high, freedom) > tail:
        high *= 2
    return root(lambda x: tail - t_tail(x, freedom), high)


def normal_quantile(tail: float) -> float:
    """Return the x with P(N > x) = `tail` of the standard normal distribution; `tail` is in (0, 1)."""
    return -NormalDist().inv_cdf(tail)


def root(rising: Callable[[float], float], high: float) -> float:
    """Return where a rising function is 0 between 0 and `high`, by bisection."""
    low = 0.0
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return high
