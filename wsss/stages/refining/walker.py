"""Scores that walk over an image: from CAMs and a trained affinity network to scores of every pixel."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from wsss.config.params.stages import RandomWalkParams, WalkedParams, WalkParams
from wsss.errors import StageError
from wsss.masks.pairs import boundary_affinities, pair_affinities, pair_offsets
from wsss.masks.random_walk import pooled, transition, upsampled, walk, walk_memory
from wsss.masks.seeds import background_score, with_background
from wsss.models import AffinityNetwork, BoundaryNetwork
from wsss.models.computing.memory import FREE_SHARE, GIB, bytes_per_pixel, free_memory
from wsss.models.computing.precision import applied, sent
from wsss.models.computing.statistics import channel_statistics

SHRINK = 0.9
LEAST_CELLS = 8
"""Of a smaller copy's short side: with fewer there is no object left to walk on."""
PROBE = 128
"""A photo's side on which the network's memory is counted: a multiple of all strides."""

log = logging.getLogger("wsss")


class Walker:
    """Walks CAMs over the affinities of their photo.

    A photo whose walk would take more than `params.memory` GiB, or than is free, is walked on a smaller
    copy; `prepare` says for how many, before the first.

    Args:
        network: gives the affinities.
        params: radius, power, steps and memory of the walk.
        device: where to walk.
    """

    def __init__(
        self, network: AffinityNetwork | BoundaryNetwork, params: RandomWalkParams, device: torch.device | str
    ) -> None:
        self.network = network.to(device).eval()
        self.params = params
        self.device = torch.device(device)
        self.offsets = pair_offsets(params.radius)
        self.crop = params.radius if params.pairs == "cropped" else 0
        self.budget = int(params.memory * GIB)
        """Bytes that a walk may take."""
        with torch.inference_mode():
            self.per_pixel = bytes_per_pixel(lambda rgb: self._affinities(self._photo(rgb), 0), PROBE)

    def prepare(
        self, sizes: Mapping[str, tuple[int, int]], at_most: int | None = None
    ) -> dict[str, tuple[int, int]]:
        """Return the (height, width) of the copies of photos, by id, that are too large; log how many.

        `sizes` are the photos' (height, width). From now on a walk may take `params.memory`, or less: most
        of what is free now, and `at_most` bytes. Raises `StageError` when that isn't enough even for copies
        of few cells.
        """
        free = self._free()
        self.budget = min(self.budget, int(FREE_SHARE * free), at_most or self.budget)
        if self.budget < int(self.params.memory * GIB):
            allowed = (
                f"the {self.budget / GIB:.2f} that it may take of {free / GIB:.2f} free on {self.device}"
            )
        else:
            allowed = f"`walk.memory`, which is {self.params.memory:g}"
        smaller = {id: self.fitting_size(*size) for id, size in sizes.items()}
        smaller = {id: small for id, small in smaller.items() if small != sizes[id]}
        large = [id for id, size in sizes.items() if self.memory(*smaller.get(id, size)) > self.budget]
        if large:
            id = max(large, key=lambda id: self.memory(*smaller.get(id, sizes[id])))
            height, width = smaller.get(id, sizes[id])
            raise StageError(
                f"the walk of {id} takes {self.memory(height, width) / GIB:.2f} GiB even on "
                f"{width} × {height} pixels, more than {allowed}"
            )
        if smaller:
            id = max(smaller, key=lambda id: self.memory(*sizes[id]))
            (height, width), small = sizes[id], smaller[id]
            log.warning(
                "%d of %d photos are walked on smaller copies: %s of %d × %d pixels would take %.1f GiB, "
                "more than %s; it is walked on %d × %d",
                len(smaller), len(sizes), id, width, height, self.memory(height, width) / GIB,
                allowed, small[1], small[0],
            )  # fmt: skip
        return smaller

    def _free(self) -> int:
        return free_memory(self.device)

    def __call__(self, rgb: npt.NDArray[np.uint8], cams: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return float32[n + 1, H, W] in [0, 1], the background first, of CAMs float[n, H, W], n > 0."""
        rule = self.params
        assert isinstance(rule, WalkParams)
        exponents = (rule.background_exponent,) if rule.background_threshold is None else ()
        scores, size = self.on_grid(rgb, cams, exponents)
        return settled(scores, self.network.stride, size, rgb.shape[:2], rule)

    def on_grid(
        self, rgb: npt.NDArray[np.uint8], cams: npt.NDArray[Any], exponents: Sequence[float] = ()
    ) -> tuple[Tensor, tuple[int, int]]:
        """Return walked scores float32[k + n, h, w] on the grid, and the (height, width) that was walked on.

        Args:
            rgb: the photo, uint8[H, W, 3].
            cams: float[n, H, W] in [0, 1], n > 0.
            exponents: of the backgrounds that walk, k of them, before the classes; without any the classes
                walk outside of boundaries.
        """
        height, width = rgb.shape[:2]
        small = self.fitting_size(height, width)
        with torch.inference_mode():
            photo = self._photo(rgb)
            known = torch.from_numpy(np.asarray(cams, np.float32))
            if small != (height, width):
                photo = interpolate(photo, small, mode="bicubic", antialias=True).clamp(0, 1)
                known = interpolate(known[None], small, mode="area")[0]
            return self._walk(photo, known.numpy(), exponents), small

    def fitting_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the largest (height, width) of the same proportions whose walk fits, if any does.

        The short side keeps a few cells.
        """
        size = height, width
        least = min(height, width, LEAST_CELLS * self.network.stride)
        while self.memory(*size) > self.budget and min(size) > least:
            scale = max(SHRINK, least / min(size))
            size = round(size[0] * scale), round(size[1] * scale)
        return size

    def memory(self, height: int, width: int) -> int:
        """Return about how many bytes the network and the walk take on an image, at most."""
        padded = math.prod(self._canvas(height, width, self.network.canvas))
        matrix = walk_memory(height, width, self.network.stride, len(self.offsets))
        return int(self.per_pixel * padded) + matrix

    def _photo(self, rgb: npt.NDArray[np.uint8]) -> Tensor:
        """Return a photo uint8[H, W, 3] as float32[1, 3, H, W] in [0, 1], on the device."""
        return sent(torch.from_numpy(np.array(rgb)), self.device).permute(2, 0, 1)[None].float() / 255

    def _walk(self, photo: Tensor, cams: npt.NDArray[np.float32], exponents: Sequence[float]) -> Tensor:
        params, stride = self.params, self.network.stride
        affinities, seen = self._affinities(photo, self.network.canvas)
        grid = seen.shape[-2], seen.shape[-1]
        matrix = transition(affinities, self.offsets, *grid, params.beta, self.crop)
        maps = cams
        for exponent in reversed(exponents):
            maps = with_background(background_score(cams, exponent), maps)
        scores = pooled(sent(torch.from_numpy(maps), self.device), stride, grid)
        if not exponents:
            scores = scores * (1 - seen)
        return walk(scores, matrix, 2**params.log_steps)

    def _affinities(self, photo: Tensor, least: int) -> tuple[Tensor, Tensor]:
        """Return the affinities of all pairs and a map float32[h, w] of boundaries, 0 without any.

        The photo is padded at the right and below with the mean colour: to `least` pixels a side, and until
        all taps' grids nest. One that was stretched to the next would be off by up to a cell at the far edge.
        """
        mean, std = channel_statistics(self.network, photo)
        height, width = self.network.grid(photo)
        x = (photo - mean) / std
        if isinstance(self.network, AffinityNetwork):
            with applied(self.network, self.device):
                found = self.network(self._padded(x, least))
            features = found.float()[:, :, :height, :width]
            affinities = pair_affinities(features, self.offsets, self.crop)
            return affinities, features.new_zeros(height, width)
        # Mirrored before it is padded, as by IRNet's authors: both copies begin at the canvas's corner.
        both = self._padded(torch.cat([x, x.flip(-1)]), least)
        with applied(self.network, self.device):
            found = self.network(both)
        logits, mirrored = found.float()[:, :height, :width]
        boundary = ((logits + mirrored.flip(-1)) / 2).sigmoid()
        return boundary_affinities(boundary[None], self.offsets), boundary

    def _padded(self, x: Tensor, least: int) -> Tensor:
        """Return normalised photos float32[B, 3, H, W] at the upper left of their canvas."""
        height, width = self._canvas(x.shape[2], x.shape[3], least)
        x = pad(x, (0, width - x.shape[3], 0, height - x.shape[2]))
        return x.contiguous(memory_format=torch.channels_last)

    def _canvas(self, height: int, width: int, least: int) -> tuple[int, int]:
        step = self.network.nesting
        return math.ceil(max(height, least) / step) * step, math.ceil(max(width, least) / step) * step


def settled(
    scores: Tensor,
    stride: int,
    size: tuple[int, int],
    whole: tuple[int, int],
    rule: WalkParams | WalkedParams,
) -> npt.NDArray[np.float32]:
    """Return float32[n + 1, H, W] in [0, 1], the background first, of scores after a walk.

    Args:
        scores: float32[n, h, w] of the classes, or [n + 1, h, w] with a background that walked before them.
        stride: the side of a cell, in pixels.
        size: the (height, width) of what was walked on.
        whole: the photo's (H, W).
        rule: what is background.
    """
    with torch.inference_mode():
        scores = upsampled(scores, stride, size)
        if rule.background_threshold is not None:
            largest = scores.amax((1, 2), keepdim=True) if rule.normalise == "class" else scores.max()
            scores = scores / largest.clamp(min=1e-5)
            scores = torch.cat([torch.full_like(scores[:1], rule.background_threshold), scores])
        if scores.shape[1:] != whole:
            scores = interpolate(scores[None], whole, mode="bilinear")[0]
        result: npt.NDArray[np.float32] = scores.cpu().numpy()
    return result
