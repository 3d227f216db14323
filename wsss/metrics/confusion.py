"""How well predicted ids agree with true ones, counted in pixels over a whole set of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wsss.errors import DataError
from wsss.labels import IGNORED

Counts = npt.NDArray[Any]
"""int[..., C + 1, C + 1]: pixels by true id (rows) and predicted id (columns); 0 is background."""


def confusion(gt: npt.NDArray[Any], pred: npt.NDArray[Any], classes: int) -> npt.NDArray[np.int64]:
    """Return int64[C + 1, C + 1]: pixels by true id (row) and predicted id (column).

    Raises `DataError` for different sizes and for values outside the ranges below.

    Args:
        gt: the true ids, integer[H, W] in 0..C, or 255 for pixels that don't count.
        pred: the predicted ids, integer[H, W] in 0..C.
        classes: C, the number of classes without the background.

    Examples:
        >>> gt = np.array([[0, 0, 1], [0, 255, 1]])
        >>> pred = np.array([[0, 1, 1], [0, 1, 1]])
        >>> confusion(gt, pred, classes=1).tolist()
        [[2, 1], [0, 2]]
    """
    if gt.shape != pred.shape:
        raise DataError(f"prediction is {list(pred.shape)}, but must be {list(gt.shape)} like its mask")
    joint = np.bincount(_bytes(gt).astype(np.intp).ravel() * 256 + _bytes(pred).ravel(), minlength=256 * 256)
    joint = joint.reshape(256, 256)
    inside = joint[: classes + 1, : classes + 1]
    if inside.sum() != joint[:IGNORED].sum():
        rows, columns = np.nonzero(joint[:IGNORED])
        values = f"true ids reach {rows.max()} and predicted ids {columns.max()}"
        raise DataError(f"{values}, but must be in [0, {classes}] (or 255 in the mask)")
    return inside.astype(np.int64)


def _bytes(ids: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    if ids.dtype == np.uint8:
        return ids
    if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) <= 255:
        raise DataError(f"ids reach from {ids.min()} to {ids.max()}, but must be in [0, 255]")
    return ids.astype(np.uint8)


def iou(conf: Counts) -> npt.NDArray[np.float64]:
    """Return float64[..., C + 1]: intersection over union per id, NaN where neither side has it.

    Examples:
        >>> iou(np.array([[2, 1, 0], [0, 2, 0], [0, 0, 0]])).round(3).tolist()
        [0.667, 0.667, nan]
    """
    return iou_from_counts(*marginals(conf))


def marginals(conf: Counts) -> tuple[Counts, Counts, Counts]:
    """Return (agreeing, true, predicted) pixels per id, each [..., C + 1]: all that scores need."""
    return np.diagonal(conf, axis1=-2, axis2=-1), conf.sum(-1), conf.sum(-2)


def iou_from_counts(hits: Counts, true: Counts, predicted: Counts) -> npt.NDArray[np.float64]:
    """Return hits / (true + predicted − hits) as float64, NaN where there is nothing to divide by.

    Args:
        hits: pixels on which both sides agree, per id, [..., C + 1].
        true: pixels that have the id, of the same shape.
        predicted: pixels that were given the id, of the same shape.
    """
    union = np.asarray(true + predicted - hits, dtype=np.float64)
    result = np.full(union.shape, np.nan)
    np.divide(hits, union, out=result, where=union > 0)
    return result


def mean_present(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the mean over the last axis of what isn't NaN; NaN where nothing is left."""
    present = ~np.isnan(values)
    count = present.sum(-1)
    total = np.where(present, values, 0).sum(-1)
    mean = np.full(np.shape(count), np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean


def miou(conf: Counts) -> float:
    """Return the mean IoU over the ids that occur; NaN for an empty confusion matrix.

    Counts are summed over images before dividing: it is not a mean of the images' IoUs.

    Examples:
        >>> round(miou(np.array([[2, 1, 0], [0, 2, 0], [0, 0, 0]])), 3)
        0.667
    """
    return float(mean_present(iou(conf)))


def pixel_accuracy(conf: Counts) -> float:
    """Return the share of pixels, background included, with the right id."""
    return _ratio(np.trace(conf), conf.sum())


def foreground_precision(conf: Counts) -> float:
    """Return the share of pixels predicted as some class that are of that very class."""
    return _ratio(np.trace(conf) - conf[0, 0], conf[:, 1:].sum())


def foreground_recall(conf: Counts) -> float:
    """Return the share of pixels of some class that were predicted as that very class."""
    return _ratio(np.trace(conf) - conf[0, 0], conf[1:].sum())


def fp_fn_ratio(conf: Counts) -> float:
    """Return wrongly claimed over missed foreground pixels: above 1, masks are too large.

    A pixel of one class predicted as another counts on both sides.
    """
    hits = np.trace(conf) - conf[0, 0]
    return _ratio(conf[:, 1:].sum() - hits, conf[1:].sum() - hits)


def _ratio(part: Any, whole: Any) -> float:
    return float(part) / float(whole) if whole else float("nan")


def summary(conf: Counts, class_names: Sequence[str]) -> dict[str, Any]:
    """Return the scores of one confusion matrix as JSON values, None where undefined.

    Keys: `miou`, `iou` (name → IoU, `background` first), `pixel_accuracy`, `precision` and `recall` of
    the foreground, `fp_fn_ratio`, `pixels`.

    Args:
        conf: int[C + 1, C + 1], true ids in rows.
        class_names: the C classes, without the background.

    Examples:
        >>> scores = summary(np.array([[6, 2], [1, 7]]), ["cat"])
        >>> scores["iou"]["cat"], scores["fp_fn_ratio"], scores["pixels"]
        (0.7, 2.0, 16)
    """
    names = ["background", *class_names]
    if conf.shape != (len(names), len(names)):
        raise DataError(f"confusion is {list(conf.shape)}, but must be {[len(names), len(names)]}")
    numbers = {
        "miou": miou(conf),
        "pixel_accuracy": pixel_accuracy(conf),
        "precision": foreground_precision(conf),
        "recall": foreground_recall(conf),
        "fp_fn_ratio": fp_fn_ratio(conf),
    }
    per_class = dict(zip(names, iou(conf).tolist(), strict=True))
    return {**defined(numbers), "iou": defined(per_class), "pixels": int(conf.sum())}


def defined(numbers: dict[str, float]) -> dict[str, float | None]:
    """Return numbers as JSON has them: None for NaN."""
    return {name: None if np.isnan(value) else value for name, value in numbers.items()}
