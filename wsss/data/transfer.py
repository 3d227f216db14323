"""Crops that travel to a GPU as bytes, and what is left to do to them there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from wsss.data.augment import GREY, HUE_CHANNELS, Statistics
from wsss.models.precision import sent


class Crops(NamedTuple):
    """A batch of crops that nothing was computed of yet: a quarter of the bytes.

    `pixels` uint8[B, S, S, 3], RGB; `windows` int64[B, 4], the (row, column, rows, columns) of the canvas
    that show the photo; `jitters` float64[B, 8]: the factors of brightness, contrast and saturation, the turn
    of the hue, and the order of the four, or [0, 8] without any.
    """

    pixels: Tensor
    windows: Tensor
    jitters: Tensor


def finished(crops: Crops, mean: Statistics, std: Statistics, device: torch.device) -> Tensor:
    """Return float32[B, 3, S, S] on a device, as `Augmentation` makes it of the same photos and draws.

    Values agree to about 1e-6: sums of many numbers are added in another order.
    """
    windows, jitters = crops.windows.tolist(), crops.jitters.tolist()  # they lie on the CPU
    pixels = sent(crops.pixels, device).permute(0, 3, 1, 2)  # channels last, as convolutions like it
    images = pixels.float() * np.float32(1 / 255).item()
    shown = torch.zeros_like(images[:, :1])
    for number, (row, column, rows, columns) in enumerate(windows):
        part = (slice(None), slice(row, row + rows), slice(column, column + columns))
        shown[number][part] = 1
        if jitters:
            images[number][part] = _jittered(images[number][part], jitters[number])
    offset = sent(torch.tensor(mean), device)[:, None, None]
    spread = sent(torch.tensor(std), device)[:, None, None]
    return ((images - offset) / spread) * shown


def _jittered(image: Tensor, draw: list[float]) -> Tensor:
    """Return float32[3, h, w] in [0, 1] with its colours changed as drawn: see `wsss.data.augment.jitter`."""
    brightness, contrast, saturation, turn, *order = draw
    for step in map(int, order):
        if step == 0:
            image = (image * brightness).clamp(0, 1)
        elif step == 1:
            image = (image * contrast + (1 - contrast) * _grey(image).mean()).clamp(0, 1)
        elif step == 2:
            image = (image * saturation + (1 - saturation) * _grey(image)).clamp(0, 1)
        else:
            image = _turned(image, turn)
    return image


def _grey(image: Tensor) -> Tensor:
    red, green, blue = GREY
    return red * image[0] + green * image[1] + blue * image[2]


def _turned(image: Tensor, turn: float) -> Tensor:
    red, green, blue = image
    value = image.amax(0)
    chroma = value - image.amin(0)
    over = 1 / chroma.clamp(min=1e-12)
    first, second, third = (green - blue) * over, 2 + (blue - red) * over, 4 + (red - green) * over
    hue = torch.where(value == red, first, torch.where(value == green, second, third)) + 6 * turn
    channels = []
    for own in HUE_CHANNELS:
        distance = (hue - own).abs()
        distance = torch.minimum(distance, 6 - distance)
        channels.append(value - (distance - 1).clamp(0, 1) * chroma)
    return torch.stack(channels)
