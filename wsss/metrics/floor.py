"""Predictions that know the image's labels and nothing else: what any CAM has to beat."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wsss.errors import ConfigError


def centre_box(shape: tuple[int, ...], class_id: int, share: float = 2 / 3) -> npt.NDArray[np.uint8]:
    """Return uint8[H, W]: `class_id` in a centred box whose sides are `share` of the image's.

    Args:
        shape: the image's (H, W, …).
        class_id: the id in masks (1..C, the first class present), or 0 for an image without classes.
        share: in [0, 1].
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"`share` is {share}, but must be in [0, 1]")
    mask = np.zeros(shape[:2], np.uint8)
    top, left = (round(side * (1 - share) / 2) for side in mask.shape)
    mask[top : mask.shape[0] - top, left : mask.shape[1] - left] = class_id
    return mask
