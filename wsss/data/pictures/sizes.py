"""The size at which stages see a photo, and masks of other sizes."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

WORKING_PIXELS = 2**20
"""Of a photo as stages see it: larger ones are worked on as smaller copies, on every machine the same."""


def working_size(width: int, height: int) -> tuple[int, int]:
    """Return the (width, height) at which stages see a photo: its own, or that of a smaller copy."""
    return shrunk(width, height, WORKING_PIXELS)


def shrunk(width: int, height: int, most: float) -> tuple[int, int]:
    """Return the largest (width, height) of these proportions with at most so many pixels, at least 1.

    Args:
        width: in pixels.
        height: in pixels.
        most: pixels.
    """
    if width * height <= most:
        return width, height
    scale = math.sqrt(most / (width * height))
    short, long = int(min(width, height) * scale), int(max(width, height) * scale)
    if not short:  # a line of pixels
        short, long = 1, max(1, int(most))
    return (long, short) if width >= height else (short, long)


def shrink_mask(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return ids at the size at which stages see their photo: each pixel's is that of the nearest one."""
    height, width = mask.shape
    return resize_mask(mask, working_size(width, height))


def resize_mask(mask: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Return ids uint8[H, W] at a `size` (width, height): each pixel's is that of the nearest one."""
    if (mask.shape[1], mask.shape[0]) == size:
        return mask
    return np.array(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST), dtype=np.uint8)
