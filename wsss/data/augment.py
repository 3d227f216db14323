"""How a photo becomes a network's input, with and without chance. Imports no torch.

The recipe is that of AffinityNet's classifiers (Ahn and Kwak, CVPR 2018): random long side, mirror,
colour jitter, random crop.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance

Pixels = npt.NDArray[np.float32]
Statistics = tuple[float, float, float]

JITTER = 0.3
"""Brightness, contrast and saturation are scaled by a factor in [1 - JITTER, 1 + JITTER]."""
HUE = 0.1
"""The hue turns by at most this part of the colour circle, either way."""


def random_state(*parts: Any) -> np.random.Generator:
    """Return a generator that is a function of `parts` alone: of no process, thread or order."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


@functools.cache
def _table(mean: Statistics, std: Statistics) -> Pixels:
    levels = np.arange(256, dtype=np.float64) / 255
    return np.stack([(levels - m) / s for m, s in zip(mean, std, strict=True)]).astype(np.float32)


def normalise(image: Image.Image, mean: Statistics, std: Statistics) -> Pixels:
    """Return float32[3, H, W]: (value / 255 - mean) / std of an RGB image."""
    table = _table(tuple(mean), tuple(std))
    pixels = np.asarray(image)
    result = np.empty((3, *pixels.shape[:2]), np.float32)
    for channel in range(3):
        np.take(table[channel], pixels[..., channel], out=result[channel], mode="clip")
    return result


def resized(width: int, height: int, long_side: int) -> tuple[int, int]:
    """Return the (width, height) with this long side and the same proportions, at least 1 pixel."""
    scale = long_side / max(width, height)
    return max(1, round(scale * width)), max(1, round(scale * height))


def evaluation_image(image: Image.Image, long_side: int | None, mean: Statistics, std: Statistics) -> Pixels:
    """Return float32[3, h, w] of the whole photo, bicubic at `long_side` pixels (as it is when None)."""
    size = resized(*image.size, long_side) if long_side else image.size
    return normalise(image if size == image.size else image.resize(size, Image.Resampling.BICUBIC), mean, std)


@dataclass(frozen=True)
class Augmentation:
    """Random long side in `long_side` (uniform over integers, bicubic, proportions kept), mirrored
    half the time, colour jitter, normalised, random crop of `crop` by `crop` pixels. A smaller image
    lands at a random place on a canvas of zeros, which is the mean colour.

    Only the crop's window is resized and jittered, which gives the same pixels for less work. One
    thing differs from jittering first: contrast is scaled about the mean grey of the window, not of
    the photo.
    """

    crop: int
    long_side: tuple[int, int]
    color_jitter: bool
    mean: Statistics
    std: Statistics

    def __call__(self, image: Image.Image, random: np.random.Generator) -> Pixels:
        """Return float32[3, crop, crop] of an RGB image. Geometry is drawn before colour, so that
        images with and without jitter show the same window."""
        low, high = self.long_side
        width, height = resized(*image.size, int(random.integers(low, high + 1)))
        mirrored = random.random() < 0.5
        left, column, columns = _window(width, self.crop, random)
        top, row, rows = _window(height, self.crop, random)
        across, down = image.width / width, image.height / height
        box = (left * across, top * down, (left + columns) * across, (top + rows) * down)
        box = (*box[:2], min(box[2], image.width), min(box[3], image.height))  # rounding
        part = image.resize((columns, rows), Image.Resampling.BICUBIC, box=box)
        if mirrored:
            part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if self.color_jitter:
            part = jitter(part, random)
        pixels = normalise(part, self.mean, self.std)
        if (rows, columns) == (self.crop, self.crop):
            return pixels
        canvas = np.zeros((3, self.crop, self.crop), np.float32)
        canvas[:, row : row + rows, column : column + columns] = pixels
        return canvas


def _window(length: int, crop: int, random: np.random.Generator) -> tuple[int, int, int]:
    """Return (first pixel taken, where it lands, number of pixels) along one axis."""
    if length >= crop:
        return int(random.integers(0, length - crop + 1)), 0, crop
    return 0, int(random.integers(0, crop - length + 1)), length


def jitter(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Return the RGB image with brightness, contrast, saturation and hue changed in random order."""
    brightness, contrast, saturation = random.uniform(1 - JITTER, 1 + JITTER, size=3)
    turn = random.uniform(-HUE, HUE)
    for step in random.permutation(4):
        if step == 0:
            image = ImageEnhance.Brightness(image).enhance(brightness)
        elif step == 1:
            image = ImageEnhance.Contrast(image).enhance(contrast)
        elif step == 2:
            image = ImageEnhance.Color(image).enhance(saturation)
        else:
            image = turn_hue(image, turn)
    return image


def turn_hue(image: Image.Image, turn: float) -> Image.Image:
    """Return the RGB image with every hue moved by `turn` of the colour circle (1 is all the way)."""
    shift = round(turn * 256)
    if not shift:
        return image
    hue, saturation, value = image.convert("HSV").split()
    hue = hue.point([(level + shift) % 256 for level in range(256)])
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")
