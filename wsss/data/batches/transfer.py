"""Crops that travel to a GPU as bytes, and what is left to do to them there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from wsss.data.batches.augment import GREY, HUE_CHANNELS, Statistics
from wsss.models.computing.precision import sent

CONTRAST, SATURATION, HUE_TURN = 1, 2, 3
"""How `Jitter.order` calls them."""
Moved = TypeVar("Moved", bound=tuple[Any, ...])


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

    Args:
        crops: of a batch, on the CPU.
        mean: of each channel, in [0, 1].
        std: of each channel.
        device: the GPU.
    """
    pixels = sent(crops.pixels, device).permute(0, 3, 1, 2)  # channels last, as convolutions like it
    images = pixels.float() * np.float32(1 / 255).item()
    shown = _shown(sent(crops.windows, device), images.shape[-1])
    if len(crops.jitters):
        images = _jittered(images, shown, crops.jitters)
    offset = sent(torch.tensor(mean), device)[:, None, None]
    spread = sent(torch.tensor(std), device)[:, None, None]
    return (((images - offset) / spread) * shown).contiguous(memory_format=torch.channels_last)


def ahead(batches: Iterator[Moved], device: torch.device) -> Iterator[Moved]:
    """Yield what an iterator makes on a GPU, each on a stream beside while the GPU works on the one before.

    The stream on which it is asked for waits for it.

    Args:
        batches: tuples, of which some parts are tensors on the device.
        device: the GPU.
    """
    beside = torch.cuda.Stream(device)

    def made() -> tuple[Moved | None, torch.cuda.Event]:
        with torch.cuda.stream(beside):
            batch = next(batches, None)
        return batch, beside.record_event()

    batch, done = made()
    while batch is not None:
        here = torch.cuda.current_stream(device)
        here.wait_event(done)
        for part in batch:
            if isinstance(part, Tensor) and part.is_cuda:
                part.record_stream(here)  # its memory isn't given away before this stream has read it
        now = batch
        batch, done = made()
        yield now


def _shown(windows: Tensor, side: int) -> Tensor:
    """Return float32[B, 1, S, S], 1 where windows int64[B, 4] show the photo."""
    place = torch.arange(side, device=windows.device)
    row, column, rows, columns = windows.T[:, :, None]
    down = (place >= row) & (place < row + rows)
    across = (place >= column) & (place < column + columns)
    shown: Tensor = (down[:, :, None] & across[:, None])[:, None].float()
    return shown


def _jittered(images: Tensor, shown: Tensor, draws: Tensor) -> Tensor:
    """Return float32[B, 3, S, S] with the colours of each image changed as drawn (`augment.jitter`).

    Brightness, contrast and saturation move a colour away from black, from the mean grey of what is shown and
    from its own grey: each of the four steps is one such move for the whole batch, by a factor of 1 where an
    image's turn is its hue's.

    Args:
        images: float32[B, 3, S, S] in [0, 1].
        shown: float32[B, 1, S, S].
        draws: float64[B, 8], on the CPU.
    """
    order = draws[:, 4:].long()
    factors = torch.cat([draws[:, :3], torch.ones(len(draws), 1, dtype=draws.dtype)], 1).gather(1, order)
    away = torch.stack([factors, 1 - factors, order == CONTRAST, order == SATURATION]).float()
    away = sent(away.permute(2, 0, 1).contiguous(), images.device)[..., None, None, None]
    turns = (order == HUE_TURN).long().argmax(1)
    turned, counts = turns.argsort(stable=True), turns.bincount(minlength=4).tolist()
    groups = torch.split(sent(turned, images.device), counts)
    angles = torch.split(sent(draws[turned, 3].float(), images.device)[:, None, None], counts)
    seen = shown.sum((2, 3), keepdim=True)
    for (factor, rest, by_contrast, by_saturation), group, angle in zip(away, groups, angles, strict=True):
        grey = _grey(images)
        mean = (grey * shown).sum((2, 3), keepdim=True) / seen
        images = (images * factor + rest * (by_contrast * mean + by_saturation * grey)).clamp(0, 1)
        if len(group):
            images = images.index_copy(0, group, _turned(images[group], angle))
    return images


def _grey(images: Tensor) -> Tensor:
    red, green, blue = GREY
    return red * images[:, :1] + green * images[:, 1:2] + blue * images[:, 2:]


def _turned(images: Tensor, turn: Tensor) -> Tensor:
    """Return float32[n, 3, S, S] whose hues have moved by `turn` float32[n, 1, 1] of the colour circle."""
    red, green, blue = images.unbind(1)
    value = images.amax(1)
    chroma = value - images.amin(1)
    over = 1 / chroma.clamp(min=1e-12)
    first, second, third = (green - blue) * over, 2 + (blue - red) * over, 4 + (red - green) * over
    hue = torch.where(value == red, first, torch.where(value == green, second, third)) + 6 * turn
    channels = []
    for own in HUE_CHANNELS:
        distance = (hue - own).abs()
        distance = torch.minimum(distance, 6 - distance)
        channels.append(value - (distance - 1).clamp(0, 1) * chroma)
    return torch.stack(channels, 1)
