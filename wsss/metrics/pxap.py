"""PxAP: how well maps rank pixels, at all thresholds at once.

Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020: the area under the
curve of pixel precision over pixel recall, pixels of all images pooled.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from wsss.errors import DataError
from wsss.labels import IGNORED

LEVELS = 1000
"""Thresholds in [0, 1): the study's interval of 0.001; 1 is one more."""
_LIMITS = (np.arange(LEVELS + 1) / LEVELS).astype(np.float32)


class PixelRanking:
    """Counts the pixels of maps by value and truth, image by image.

    A photo's maps are those of the classes that its labels name, each with values in [0, 1]; a pixel of a
    map is positive where the mask has the map's class. Pixels of 255 don't count.

    Examples:
        A map that is 0.9 on the object, and on half of what lies beside it:

        >>> ranking = PixelRanking()
        >>> ranking.add(np.array([[1, 1, 0, 0]]), np.array([[[0.9, 0.9, 0.9, 0.1]]]), keys=[0])
        >>> round(ranking.pxap(), 3)
        0.667
    """

    def __init__(self) -> None:
        self._positive = np.zeros(LEVELS + 2, np.int64)
        self._negative = np.zeros(LEVELS + 2, np.int64)

    def add(self, gt: npt.NDArray[Any], maps: npt.NDArray[Any], keys: npt.ArrayLike) -> None:
        """Count an image. Raises `DataError` when sizes don't fit.

        Args:
            gt: the true ids, uint8[H, W] in 0..C or 255.
            maps: float[n, H, W], finite; below 0 counts as below every threshold.
            keys: the 0-based class of each map, [n].
        """
        counted = gt != IGNORED
        for key, values in zip(np.asarray(keys, np.int64).tolist(), maps, strict=True):
            if values.shape != gt.shape:
                raise DataError(f"maps are {list(values.shape)}, but must be {list(gt.shape)} like the mask")
            # A value at a threshold has reached it: count the thresholds at or below.
            level = np.searchsorted(_LIMITS, values[counted].astype(np.float32), side="right")
            positive = gt[counted] == key + 1
            all_of = np.bincount(level, minlength=LEVELS + 2)
            hits = np.bincount(level[positive], minlength=LEVELS + 2)
            self._positive += hits
            self._negative += all_of - hits

    def pxap(self) -> float:
        """Return Σ precision(τ) · (recall(τ) − recall(next larger τ)), in [0, 1]; NaN without a positive
        pixel."""
        if not self._positive.sum():
            return float("nan")
        # From the largest threshold down; what lies below 0 never comes.
        hits, wrong = (part[:0:-1].cumsum() for part in (self._positive, self._negative))
        claimed = hits + wrong
        precision = np.divide(hits, claimed, out=np.zeros(len(hits)), where=claimed > 0)
        recall = hits / self._positive.sum()
        return float((precision * np.diff(recall, prepend=0.0)).sum())
