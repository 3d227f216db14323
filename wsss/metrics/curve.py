"""mIoU of CAMs at many background thresholds, from one look at every image.

At threshold τ a pixel's label is the argmax over [τ, CAMs]. The largest class of a pixel doesn't
depend on τ, and whether it beats τ depends only on how many thresholds lie below its CAM. So each
image is counted once, by (true id, largest class, number of thresholds below), and the confusion
matrix at any threshold is a partial sum of these counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wsss.errors import ConfigError, DataError
from wsss.labels import IGNORED
from wsss.masks.seeds import strongest
from wsss.metrics.confusion import iou, mean_present

THRESHOLDS: tuple[float, ...] = tuple(step / 100 for step in range(60))
"""0, 0.01, …, 0.59: the sweep of SEAM (Wang et al., CVPR 2020). Thresholds are chosen among these."""
WHOLE_RANGE: tuple[float, ...] = tuple(step / 100 for step in range(100))
"""0, 0.01, …, 0.99: all that a CAM, whose largest value is 1, can be cut at. Its mean mIoU is the area under
the curve, which no choice of a threshold enters."""


@dataclass(frozen=True)
class _ImageCounts:
    """One image's histogram: only the true ids and the classes that it has.

    `counts` is int32[rows, columns, T + 1]; `columns` are ids (key + 1), or [0] without classes.
    """

    rows: npt.NDArray[np.uint8]
    columns: npt.NDArray[np.uint8]
    counts: npt.NDArray[np.int32]


class ThresholdCurve:
    """Counts images one by one, then answers for every threshold.

    Comparisons are made in float32, as `wsss.masks.seeds.threshold_mask` makes them, so the confusion
    matrices are exactly those of the argmax at each threshold: ties go to the background, then to the
    earlier class. Processes can exchange curves; `merge` joins those of several workers.

    Raises `ConfigError` for thresholds or a number of classes outside the ranges below.

    Args:
        classes: C, the number of classes without the background, in [1, 254].
        thresholds: finite, at least 0, strictly ascending.

    Examples:
        One image of two classes, the first of them present; the CAM is 0.8 on the object, 0.3 beside it.

        >>> gt = np.array([[1, 1, 0, 0]], np.uint8)
        >>> cams = np.array([[[0.8, 0.8, 0.3, 0.1]]], np.float32)
        >>> curve = ThresholdCurve(classes=2, thresholds=[0.0, 0.2, 0.4])
        >>> curve.add(gt, cams, keys=[0])
        >>> curve.miou().round(3).tolist()
        [0.25, 0.583, 1.0]
        >>> curve.best()
        (2, 0.4, 1.0)
    """

    def __init__(self, classes: int, thresholds: Sequence[float] = THRESHOLDS) -> None:
        limits = np.asarray(thresholds, dtype=np.float32)
        if not len(limits) or limits[0] < 0 or not np.isfinite(limits).all() or (np.diff(limits) <= 0).any():
            raise ConfigError("`thresholds` must be finite, in [0, …) and strictly ascending")
        if not 1 <= classes < IGNORED:
            raise ConfigError(f"`classes` is {classes}, but must be in [1, 254]")
        self.classes = classes
        self.thresholds = tuple(float(value) for value in thresholds)
        self._limits = limits
        self._half_levels = _levels_of_halves(limits)
        self._images: list[_ImageCounts] = []
        self._total = np.zeros((classes + 1, classes + 1, len(limits) + 1), np.int64)

    def __len__(self) -> int:
        return len(self._images)

    def add(self, gt: npt.NDArray[np.uint8], cams: npt.NDArray[Any], keys: npt.ArrayLike) -> None:
        """Count one image. Raises `DataError` when sizes or values don't fit.

        Args:
            gt: the true ids, uint8[H, W] in 0..C or 255.
            cams: float16 or float32[n, H, W], finite. Of any size without `keys`.
            keys: the 0-based class of each map, [n]; without any, every pixel is background.
        """
        columns = self._columns(keys, len(cams))
        if len(columns) and cams.shape[1:] != gt.shape:
            raise DataError(f"CAMs are {list(cams.shape[1:])}, but must be {list(gt.shape)} like the mask")
        bins = len(self._limits) + 1
        code = gt.astype(np.intp)
        if len(columns):
            code *= len(columns) * bins
            code += self._cells(cams)
        else:
            code *= bins
            columns = np.zeros(1, np.uint8)
        shape = (256, len(columns), bins)
        joint = np.bincount(code.ravel(), minlength=math.prod(shape)).reshape(shape)
        rows = np.flatnonzero(joint[:IGNORED].any((1, 2)))
        if len(rows) and rows[-1] > self.classes:
            raise DataError(f"true ids reach {rows[-1]}, but must be in [0, {self.classes}] or 255")
        counts = joint[rows]
        self._total[np.ix_(rows, columns)] += counts
        self._images.append(_ImageCounts(rows.astype(np.uint8), columns, counts.astype(np.int32)))

    def merge(self, other: ThresholdCurve) -> None:
        """Add another curve's images after this one's. Raises `ConfigError` for other thresholds."""
        if (other.classes, other.thresholds) != (self.classes, self.thresholds):
            raise ConfigError("curves of different classes or thresholds can't be merged")
        self._images.extend(other._images)
        self._total += other._total

    def confusions(self, threshold_index: int) -> npt.NDArray[np.int32]:
        """Return int32[N, C + 1, C + 1] at one threshold, images in the order they were added."""
        first = range(len(self.thresholds))[threshold_index] + 1
        result = np.zeros((len(self), self.classes + 1, self.classes + 1), np.int32)
        for conf, image in zip(result, self._images, strict=True):
            conf[image.rows, 0] = image.counts[:, :, :first].sum((1, 2))
            conf[np.ix_(image.rows, image.columns)] += image.counts[:, :, first:].sum(2)
        return result

    def marginals(self, first: int | None = None) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Return (hits, predicted), each int32[N, T, C + 1]: pixels of every image at every threshold, those
        that agree and those that were given each id. What was true follows from any confusion matrix.

        Args:
            first: how many of the thresholds, from the lowest; None for all.
        """
        count = len(self.thresholds) if first is None else first
        hits = np.zeros((len(self), count, self.classes + 1), np.int32)
        predicted = np.zeros_like(hits)
        for number, image in enumerate(self._images):
            below = np.cumsum(image.counts, axis=2)[:, :, :count]
            above = image.counts.sum(2, keepdims=True) - below
            predicted[number][:, image.columns] = above.sum(0).T
            predicted[number, :, 0] += below.sum((0, 1))
            for row, id in enumerate(image.rows):
                for column in np.flatnonzero(image.columns == id):
                    hits[number, :, id] += above[row, column]
                if id == 0:
                    hits[number, :, 0] += below[row].sum(0)
        return hits, predicted

    def total(self) -> npt.NDArray[np.int64]:
        """Return int64[T, C + 1, C + 1], the confusion matrix of all images at every threshold."""
        below = np.cumsum(self._total, axis=2)
        found = below[:, :, -1:] - below[:, :, :-1]
        found[:, 0] += below[:, :, :-1].sum(1)
        return np.moveaxis(found, 2, 0)

    def miou(self) -> npt.NDArray[np.float64]:
        """Return float64[T], the mIoU at every threshold; NaN without any pixel."""
        return mean_present(iou(self.total()))

    def best(self, first: int | None = None) -> tuple[int, float, float]:
        """Return (index, threshold, mIoU) of the largest mIoU, the smallest threshold on ties.

        Args:
            first: how many of the thresholds may be chosen, from the lowest; None for all.
        """
        curve = self.miou()[:first]
        index = int(np.argmax(np.nan_to_num(curve, nan=-1)))
        return index, self.thresholds[index], float(curve[index])

    def _columns(self, keys: npt.ArrayLike, maps: int) -> npt.NDArray[np.uint8]:
        classes = np.asarray(keys, dtype=np.int64)
        if len(classes) != maps:
            raise DataError(f"there are {maps} CAMs, but must be one for each of {len(classes)} classes")
        if len(classes) and not 0 <= classes.min() <= classes.max() < self.classes:
            raise DataError(f"classes are {classes.tolist()}, but must be in [0, {self.classes - 1}]")
        if len(set(classes.tolist())) < len(classes):
            raise DataError(f"classes are {classes.tolist()}, but none may come twice")
        return (classes + 1).astype(np.uint8)

    def _cells(self, cams: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
        """Return intp[H, W]: (position of the largest CAM) · (T + 1) + number of thresholds below it."""
        bins = len(self._limits) + 1
        largest, position = strongest(cams)
        cells: npt.NDArray[np.intp]
        if largest.dtype == np.float16:
            cells = self._half_levels[largest.view(np.uint16)]
        else:
            # A value at a threshold has not passed it: count the thresholds strictly below.
            cells = np.searchsorted(self._limits, largest, side="left")
        if len(cams) > 1:
            cells += position.astype(np.intp) * bins
        return cells


def _levels_of_halves(limits: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
    """Return intp[65536]: for the bits of every float16, the number of limits strictly below it."""
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    with np.errstate(invalid="ignore"):
        return np.searchsorted(limits, halves.astype(np.float32), side="left")
