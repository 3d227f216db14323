"""What guessing reaches, so that a score can be held against it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

GUESSES = 200
LEVEL = 0.95


def guessed_average_precision(labels: npt.NDArray[Any]) -> tuple[float, float] | None:
    """Return (mean, 95 % quantile) of the mAP that random scores reach; None where every class is on all
    images, or on none: there is nothing to tell apart then.

    Args:
        labels: {0, 1}[N, C], of the images that a classifier is measured on.

    Examples:
        Two classes, each on half of the images. A guess reaches a little more than a half, by luck more:

        >>> labels = np.tile([[1, 0], [0, 1]], (20, 1))
        >>> mean, most = guessed_average_precision(labels)
        >>> 0.5 < mean < 0.6 < most < 0.75
        True
    """
    present = np.asarray(labels).astype(bool)
    if not present.size or not (present.any(0) & ~present.all(0)).any():
        return None
    generator = np.random.default_rng(0)
    places = np.arange(1, len(present) + 1)
    drawn = []
    for column in present.T[present.any(0)]:  # a class without positives has no average precision
        hits = generator.permuted(np.tile(column, (GUESSES, 1)), axis=1)
        precision = hits.cumsum(1) / places
        drawn.append((precision * hits).sum(1) / column.sum())
    means = np.mean(drawn, axis=0)
    return float(means.mean()), float(np.quantile(means, LEVEL))
