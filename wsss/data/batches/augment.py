"""How a photo becomes a network's input, with and without chance. Imports no torch.

The recipe is that of AffinityNet's classifiers (Ahn and Kwak, CVPR 2018): random long side, mirror,
colour jitter, random crop.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from wsss.labels import IGNORED

Pixels = npt.NDArray[np.float32]
Raw = npt.NDArray[np.uint8]
Statistics = tuple[float, float, float]

JITTER = 0.3
"""Brightness, contrast and saturation are scaled by a factor in [1 - JITTER, 1 + JITTER]."""
HUE = 0.1
"""The hue turns by at most this part of the colour circle, either way."""
GREY = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in the brightness of a colour."""
HUE_CHANNELS = (0, 2, 4)
"""Where the hues of red, green and blue lie on the colour circle, in sixths of it."""


def random_state(*parts: Any) -> np.random.Generator:
    """Return a generator that is a function of `parts` alone: of no process, thread or order."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def planes(image: Image.Image) -> Pixels:
    """Return float32[3, H, W] in [0, 1] of an RGB image."""
    pixels = np.asarray(image)
    result = np.empty((3, *pixels.shape[:2]), np.float32)
    for channel in range(3):
        np.multiply(pixels[..., channel], np.float32(1 / 255), out=result[channel])
    return result


def normalise(pixels: Pixels, mean: Statistics, std: Statistics) -> Pixels:
    """Return float32[3, H, W], (value - mean) / std; works in place.

    Args:
        pixels: float32[3, H, W] in [0, 1].
        mean: of each channel.
        std: of each channel.
    """
    pixels -= np.asarray(mean, np.float32)[:, None, None]
    pixels /= np.asarray(std, np.float32)[:, None, None]
    return pixels


def resized(width: int, height: int, long_side: int) -> tuple[int, int]:
    """Return the (width, height) with a long side and the same proportions, at least 1 pixel.

    Args:
        width: in pixels.
        height: in pixels.
        long_side: in pixels.
    """
    scale = long_side / max(width, height)
    return max(1, round(scale * width)), max(1, round(scale * height))


def evaluation_image(image: Image.Image, long_side: int | None, mean: Statistics, std: Statistics) -> Pixels:
    """Return float32[3, h, w] of the whole photo, bicubic.

    Args:
        image: RGB.
        long_side: of the result, in pixels; the photo's own when None.
        mean: of each channel, in [0, 1].
        std: of each channel.
    """
    size = resized(*image.size, long_side) if long_side else image.size
    if size != image.size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    return normalise(planes(image), mean, std)


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
        place = self._place(image.size, random)
        pixels = planes(place.cut(image, Image.Resampling.BICUBIC))
        if self.color_jitter:
            pixels = jitter(pixels, draw_jitter(random))
        pixels = normalise(pixels, self.mean, self.std)
        rows, columns = pixels.shape[1:]
        if (rows, columns) == (self.crop, self.crop):
            return pixels
        canvas = np.zeros((3, self.crop, self.crop), np.float32)
        canvas[:, place.row : place.row + rows, place.column : place.column + columns] = pixels
        return canvas

    def raw(self, image: Image.Image, random: np.random.Generator) -> tuple[Raw, Place, Jitter | None]:
        """Return the same crop before any arithmetic, uint8[crop, crop, 3] with zeros around the photo, where
        the photo lies on it, and the change of its colours."""
        place = self._place(image.size, random)
        pixels = np.asarray(place.cut(image, Image.Resampling.BICUBIC))
        canvas = np.zeros((self.crop, self.crop, 3), np.uint8)
        rows, columns = pixels.shape[:2]
        canvas[place.row : place.row + rows, place.column : place.column + columns] = pixels
        return canvas, place, draw_jitter(random) if self.color_jitter else None

    def mask(self, mask: npt.NDArray[np.uint8], random: np.random.Generator) -> npt.NDArray[np.uint8]:
        """Return the ids uint8[crop, crop] under the crop that an image gets from an equal `random`; 255
        where the canvas is empty."""
        image = Image.fromarray(mask)
        place = self._place(image.size, random)
        ids = np.asarray(place.cut(image, Image.Resampling.NEAREST))
        canvas = np.full((self.crop, self.crop), IGNORED, np.uint8)
        canvas[place.row : place.row + ids.shape[0], place.column : place.column + ids.shape[1]] = ids
        return canvas

    def _place(self, size: tuple[int, int], random: np.random.Generator) -> Place:
        low, high = self.long_side
        width, height = resized(*size, int(random.integers(low, high + 1)))
        mirrored = random.random() < 0.5
        left, column, columns = window(width, self.crop, random)
        top, row, rows = window(height, self.crop, random)
        across, down = size[0] / width, size[1] / height
        box = (left * across, top * down, (left + columns) * across, (top + rows) * down)
        box = (*box[:2], min(box[2], size[0]), min(box[3], size[1]))  # rounding
        return Place(box, columns, rows, column, row, mirrored)


@dataclass(frozen=True)
class Place:
    """Which `box` of a photo is shown, at what size, and where on the canvas it lands."""

    box: tuple[float, float, float, float]
    columns: int
    rows: int
    column: int
    row: int
    mirrored: bool

    def cut(self, image: Image.Image, resampling: Image.Resampling) -> Image.Image:
        part = image.resize((self.columns, self.rows), resampling, box=self.box)
        return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self.mirrored else part


def window(length: int, crop: int, random: np.random.Generator) -> tuple[int, int, int]:
    """Return (first pixel taken, where it lands, number of pixels) along one axis.

    Args:
        length: of the image, in pixels.
        crop: of the result, in pixels.
        random: draws the place.
    """
    if length >= crop:
        return int(random.integers(0, length - crop + 1)), 0, crop
    return 0, int(random.integers(0, crop - length + 1)), length


@dataclass(frozen=True)
class Jitter:
    """How the colours of one crop change: factors of brightness, contrast and saturation, the part of the
    colour circle by which the hue turns, and the order of the four (0 brightness, 1 contrast, 2 saturation, 3
    hue)."""

    brightness: float
    contrast: float
    saturation: float
    turn: float
    order: tuple[int, ...]

    def row(self) -> list[float]:
        """Return it as eight numbers."""
        return [self.brightness, self.contrast, self.saturation, self.turn, *map(float, self.order)]


def draw_jitter(random: np.random.Generator) -> Jitter:
    """Return changes of random amounts in random order."""
    brightness, contrast, saturation = map(float, random.uniform(1 - JITTER, 1 + JITTER, size=3))
    turn = float(random.uniform(-HUE, HUE))
    return Jitter(brightness, contrast, saturation, turn, tuple(map(int, random.permutation(4))))


def jitter(pixels: Pixels, draw: Jitter) -> Pixels:
    """Return float32[3, H, W] in [0, 1] with brightness, contrast, saturation and hue changed; works in
    place."""
    for step in draw.order:
        if step == 0:
            _blend(pixels, np.float32(0), draw.brightness)
        elif step == 1:
            _blend(pixels, _grey(pixels).mean(), draw.contrast)
        elif step == 2:
            _blend(pixels, _grey(pixels), draw.saturation)
        else:
            pixels = turn_hue(pixels, draw.turn)
    return pixels


def _grey(pixels: Pixels) -> Pixels:
    red, green, blue = GREY
    grey: Pixels = red * pixels[0] + green * pixels[1] + blue * pixels[2]
    return grey


def _blend(pixels: Pixels, other: Pixels | np.float32, factor: float) -> None:
    """Move `pixels` away from `other` (factor above 1) or towards it, within [0, 1]."""
    pixels *= np.float32(factor)
    pixels += np.float32(1 - factor) * other
    np.clip(pixels, 0, 1, out=pixels)


def turn_hue(pixels: Pixels, turn: float) -> Pixels:
    """Return float32[3, H, W] with every hue moved by `turn` of the colour circle, in [-1/6, 1/6].

    In HSV a channel is value - chroma * min(max(d - 1, 0), 1), where d in [0, 3] is how far, in
    sixths of the circle, the hue is from that channel's own.
    """
    red, green, blue = pixels
    value = np.maximum(np.maximum(red, green), blue)
    chroma = value - np.minimum(np.minimum(red, green), blue)
    over = 1 / np.maximum(chroma, np.float32(1e-12))  # grey has no hue: any will do
    hue = np.where(
        value == red,
        (green - blue) * over,
        np.where(value == green, 2 + (blue - red) * over, 4 + (red - green) * over),
    )
    hue += np.float32(6 * turn)
    result = np.empty_like(pixels)
    for own, channel in zip(HUE_CHANNELS, result, strict=True):
        np.abs(hue - np.float32(own), out=channel)
        np.minimum(channel, 6 - channel, out=channel)
        channel -= 1
        np.clip(channel, 0, 1, out=channel)
        channel *= chroma
        np.subtract(value, channel, out=channel)
    return result
