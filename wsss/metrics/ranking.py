"""How well a classifier ranks images: average precision per class."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from wsss.errors import DataError
from wsss.metrics.confusion import mean_present


def average_precisions(scores: npt.NDArray[Any], labels: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return float64[C] in [0, 1]: each class's average precision, NaN for one without positives.

    Raises `DataError` for arrays of different shapes.

    Args:
        scores: float[N, C], larger for more likely (logits will do).
        labels: {0, 1}[N, C].
    """
    if scores.shape != labels.shape or scores.ndim != 2:
        shapes = f"scores are {list(scores.shape)} and labels {list(labels.shape)}"
        raise DataError(f"{shapes}, but both must be the same [N, C]")
    # Imported late: scikit-learn takes longer to load than all the rest of this package.
    from sklearn.metrics import average_precision_score

    result = np.full(scores.shape[1], np.nan)
    for index in np.flatnonzero(labels.any(0)):
        result[index] = average_precision_score(labels[:, index], scores[:, index])
    return result


def mean_average_precision(scores: npt.NDArray[Any], labels: npt.NDArray[Any]) -> float | None:
    """Return the mean of `average_precisions` over the classes with positives, None when there are none.

    Args:
        scores: float[N, C], larger for more likely.
        labels: {0, 1}[N, C].

    Examples:
        >>> scores = np.array([[0.9, 0.2], [0.4, 0.8], [0.6, 0.1]])
        >>> labels = np.array([[1, 0], [1, 1], [0, 0]])
        >>> round(mean_average_precision(scores, labels), 3)
        0.917
    """
    mean = float(mean_present(average_precisions(scores, labels)))
    return None if np.isnan(mean) else mean
