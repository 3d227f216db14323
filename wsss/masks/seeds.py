"""From normalised CAMs to one label per pixel, by giving the background a score to compete with."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from wsss.errors import DataError

Cams = npt.NDArray[Any]
"""float[n, H, W] in [0, 1], one map per class present."""


def background_score(cams: Cams, exponent: float) -> npt.NDArray[np.float32]:
    """Return float32[H, W]: (1 − largest CAM)^exponent, 1 where there is no CAM.

    The larger the exponent, the weaker the background (AffinityNet: Ahn and Kwak, CVPR 2018).
    """
    largest = np.max(cams.astype(np.float32), axis=0, initial=0)
    score: npt.NDArray[np.float32] = np.power(1 - np.minimum(largest, 1), np.float32(exponent))
    return score


def threshold_mask(cams: Cams, keys: npt.ArrayLike, tau: float) -> npt.NDArray[np.uint8]:
    """Return uint8[H, W]: the class with the largest CAM where it exceeds `tau`, else background.

    It is the argmax over [tau, CAMs], in float32, where ties go to the background and then to the earlier
    class. Raises `DataError` when there isn't one map a class.

    Args:
        cams: float[n, H, W] in [0, 1].
        keys: the 0-based class of each map, [n]; a mask has 0 for background and key + 1.
        tau: the threshold, in [0, 1].

    Examples:
        >>> cams = np.array([[[0.9, 0.2, 0.1]], [[0.3, 0.6, 0.2]]])
        >>> threshold_mask(cams, keys=[7, 14], tau=0.25).tolist()
        [[8, 15, 0]]
    """
    classes = np.asarray(keys, dtype=np.int64)
    if len(classes) != len(cams):
        raise DataError(f"there are {len(cams)} CAMs, but must be one for each of {len(classes)} classes")
    ids = (classes + 1).astype(np.uint8)
    if not len(ids):
        return np.zeros(cams.shape[1:], np.uint8)
    largest, position = strongest(cams)
    mask: npt.NDArray[np.uint8] = ids[position] * (largest.astype(np.float32) > np.float32(tau))
    return mask


def strongest(cams: Cams) -> tuple[Cams, npt.NDArray[np.uint8]]:
    """Return the largest CAM of each pixel, float16 or float32[H, W], and which it is, the first one on ties.

    Non-negative floats are ordered like the integers with the same bits, and integers compare many at a time.
    Where all are negative any of them may be returned: no threshold is below.

    Args:
        cams: float[n, H, W], n ≥ 1; whatever isn't float16 is compared as float32.
    """
    halves = cams.dtype == np.float16
    values = cams.view(np.int16) if halves else cams.astype(np.float32, copy=False)
    largest = values[0]
    position = np.zeros(largest.shape, np.uint8)
    for number in range(1, len(values)):
        position[values[number] > largest] = number
        largest = np.maximum(values[number], largest)
    return largest.view(np.float16) if halves else largest, position


def with_background(background: npt.NDArray[np.float32], cams: Cams) -> npt.NDArray[np.float32]:
    """Return float32[n + 1, H, W]: the background's scores first, then the classes'."""
    return np.concatenate([background[None], cams.astype(np.float32)])
