"""How well the outlines of masks agree, and in which way masks are wrong.

Regions can agree well while outlines are poor, as in a mask that is a blob. The boundary F-score looks at
outlines alone (Csurka et al., "What is a good evaluation measure for semantic segmentation?", BMVC 2013).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from wsss.errors import DataError
from wsss.labels import IGNORED
from wsss.metrics.confusion import Counts, mean_present

TOLERANCE = 0.0075
"""Share of an image's diagonal within which two outlines are the same."""

Ids = npt.NDArray[np.uint8]


def boundary_counts(gt: Ids, pred: Ids, classes: int, tolerance: float = TOLERANCE) -> npt.NDArray[np.int64]:
    """Return int64[C, 4] of C classes: outline pixels that are [predicted and right, predicted, true and
    found, true].

    An outline pixel of a class has a neighbour, above, below, left or right, that isn't of the class; the
    image's edge is no outline. It is right, or found, when the other mask has an outline pixel of the class
    within max(1, round(tolerance · diagonal)).

    Around objects VOC leaves a band of 255 some five pixels wide. The true outline is the band's inner
    edge; a predicted outline within the band, or behind it in other ignored pixels, is right when it is
    near enough and doesn't count otherwise. Raises `DataError` for masks of different sizes.

    Args:
        gt: the true ids, uint8[H, W] in 0..C or 255.
        pred: the predicted ids, uint8[H, W] in 0..C.
        classes: C, the number of classes without the background.
        tolerance: a share of the image's diagonal.
    """
    if gt.shape != pred.shape:
        raise DataError(f"prediction is {list(pred.shape)}, but must be {list(gt.shape)} like its mask")
    reach = max(1, round(tolerance * math.hypot(*gt.shape)))
    counts = np.zeros((classes, 4), np.int64)
    for id in np.union1d(gt[gt != IGNORED], pred):
        if id:
            box = _box((gt == id) | (pred == id))
            counts[id - 1] = _count(gt[box] == id, pred[box] == id, gt[box] == IGNORED, reach)
    return counts


def _box(region: npt.NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the smallest box around a region and its neighbours."""
    rows, columns = (np.flatnonzero(region.any(axis)) for axis in (1, 0))
    return (
        slice(max(0, int(rows[0]) - 1), int(rows[-1]) + 2),
        slice(max(0, int(columns[0]) - 1), int(columns[-1]) + 2),
    )


def _count(
    true: npt.NDArray[np.bool_], found: npt.NDArray[np.bool_], ignored: npt.NDArray[np.bool_], reach: int
) -> list[int]:
    true, found = outline(true), outline(found)
    near_true, near_found = near(true, reach), near(found, reach)
    counted = found & (near_true | ~ignored)
    parts = (counted & near_true, counted, true & near_found, true)
    return [int(np.count_nonzero(part)) for part in parts]


def outline(region: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return bool[H, W], the pixels of a region that have a neighbour outside of it."""
    inner = np.pad(region, 1, mode="edge")
    inside = inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
    return region & ~inside


def near(marks: npt.NDArray[np.bool_], reach: int) -> npt.NDArray[np.bool_]:
    """Return bool[H, W], what lies within `reach` pixels of a mark.

    A disc is put on every mark, a row of the disc on all marks at once: rows of the same width at one go.
    """
    height, width = marks.shape
    padded = np.pad(marks, reach)
    result = np.zeros_like(marks)
    if not marks.any():
        return result
    wide = padded.copy()
    widths = [math.isqrt(reach**2 - row**2) for row in range(reach + 1)]
    inner = slice(reach, reach + width)
    for half in range(reach + 1):
        if half:
            wide[:, half:] |= padded[:, :-half]
            wide[:, :-half] |= padded[:, half:]
        for row in (row for row, own in enumerate(widths) if own == half):
            result |= wide[reach - row : reach - row + height, inner]
            result |= wide[reach + row : reach + row + height, inner]
    return result


def boundary_f(counts: Counts) -> npt.NDArray[np.float64]:
    """Return float64[..., C], 2PR/(P + R) of counts int[..., C, 4] summed over images; NaN for a class
    without any outline, 0 where only one side has one.

    Examples:
        A square, and the same square three pixels to the right; outlines a pixel apart are the same.

        >>> gt, pred = np.zeros((2, 20, 20), np.uint8)
        >>> gt[5:15, 5:12] = 1
        >>> pred[5:15, 8:15] = 1
        >>> counts = boundary_counts(gt, pred, classes=1)
        >>> counts.tolist(), boundary_f(counts).round(3).tolist()
        ([[12, 30, 12, 30]], [0.4])
    """
    right, predicted, found, true = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall = right / predicted, found / true
        score = 2 * precision * recall / (precision + recall)
    score = np.where((right == 0) | (found == 0), 0.0, score)
    return np.where((predicted == 0) & (true == 0), np.nan, score)


def mean_boundary_f(counts: Counts) -> float:
    """Return the mean over the classes that have an outline; NaN when none has."""
    return float(mean_present(boundary_f(counts)))


def error_split(conf: Counts) -> dict[str, float]:
    """Return which share of all pixels is wrong in which way; with the pixel accuracy they add up to 1.

    `conf` is int[C + 1, C + 1], true ids in rows. `false_positive`: background taken for a class;
    `false_negative`: a class taken for background; `confused`: a class taken for another.

    Examples:
        >>> error_split(np.array([[5, 1, 0], [2, 6, 0], [0, 1, 5]]))
        {'false_positive': 0.05, 'false_negative': 0.1, 'confused': 0.05}
    """
    total = conf.sum()
    over, under = conf[0, 1:].sum(), conf[1:, 0].sum()
    confused = conf[1:, 1:].sum() - np.trace(conf[1:, 1:])
    parts = {"false_positive": over, "false_negative": under, "confused": confused}
    return {name: float(part) / float(total) if total else float("nan") for name, part in parts.items()}
