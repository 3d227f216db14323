"""Pairs of neighbouring cells: which there are, how their labels relate, how alike their features are.

AffinityNet (Ahn and Kwak, "Learning Pixel-level Semantic Affinity with Image-level Supervision", CVPR
2018) learns from all pairs of cells that lie closer than a radius. An offset (dy, dx) stands for the
pairs (p, p + offset) of the whole grid; as dy ≥ 0, no pair comes twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from wsss.labels import IGNORED

EPSILON = 1e-5

Offset = tuple[int, int]
Window = tuple[slice, slice]


def pair_offsets(radius: int) -> list[Offset]:
    """Return the offsets (dy, dx) of half a disc: length below `radius`, none the opposite of another.

    Examples:
        >>> pair_offsets(2)
        [(0, 1), (1, -1), (1, 0), (1, 1)]
        >>> len(pair_offsets(5))
        34
    """
    reach = range(-radius + 1, radius)
    right = [(0, dx) for dx in range(1, radius)]
    return right + [(dy, dx) for dy in range(1, radius) for dx in reach if dy**2 + dx**2 < radius**2]


def windows(height: int, width: int, offset: Offset, crop: int = 0) -> tuple[Window, Window]:
    """Return the two windows of a grid that hold the first and the second cells of an offset's pairs.

    Args:
        height: of the grid, in cells.
        width: of the grid, in cells.
        offset: (dy, dx) with dy ≥ 0.
        crop: a radius: first cells keep that distance, less one, from the left, right and lower edge, as the
            first public code has it. Some cells near corners are then in no pair at all.
    """
    dy, dx = offset
    margin = max(crop - 1, 0)
    rows = slice(0, max(0, height - max(dy, margin)))
    columns = slice(max(-dx, margin), max(0, width - max(dx, margin)))
    columns = slice(columns.start, max(columns.start, columns.stop))
    second = slice(rows.start + dy, rows.stop + dy), slice(columns.start + dx, columns.stop + dx)
    return (rows, columns), second


class PairLabels(NamedTuple):
    """bool[P] each, over all pairs of a batch, offset by offset; none is true where a cell is ignored."""

    foreground: Tensor
    """Both cells have the same class."""
    background: Tensor
    """Both cells are background."""
    different: Tensor


def pair_labels(labels: Tensor, offsets: Sequence[Offset], crop: int = 0) -> PairLabels:
    """Return how the labels of all pairs relate.

    Args:
        labels: uint8[B, h, w], 0 background, 255 ignored.
        offsets: of the pairs, as `pair_offsets` gives them.
        crop: that of `windows`.

    Examples:
        >>> labels = torch.tensor([[[0, 0, 1, 255]]], dtype=torch.uint8)
        >>> pairs = pair_labels(labels, [(0, 1)])
        >>> pairs.background.tolist(), pairs.different.tolist()
        ([True, False, False], [False, True, False])
    """
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    height, width = labels.shape[1:]
    for offset in offsets:
        first, second = windows(height, width, offset, crop)
        a, b = labels[:, *first].flatten(), labels[:, *second].flatten()
        valid, equal = (a != IGNORED) & (b != IGNORED), a == b
        parts.append((valid & equal & (a > 0), valid & equal & (a == 0), valid & ~equal))
    return PairLabels(*(torch.cat(part) for part in zip(*parts, strict=True)))


class _Distances(torch.autograd.Function):
    """Mean absolute difference of the features of all pairs; keeps nothing but the features.

    Plain autograd would keep a difference of all features for every offset: 34 times their memory.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, offsets: Sequence[Offset], crop: int) -> Tensor:
        ctx.save_for_backward(features)
        ctx.offsets, ctx.crop = offsets, crop
        height, width = features.shape[2:]
        parts = []
        for offset in offsets:
            first, second = windows(height, width, offset, crop)
            difference = features[:, :, *first] - features[:, :, *second]
            parts.append(difference.abs_().mean(1).flatten())
        return torch.cat(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (features,) = ctx.saved_tensors
        result = torch.zeros_like(features)
        batch, depth, height, width = features.shape
        start = 0
        for offset in ctx.offsets:
            first, second = windows(height, width, offset, ctx.crop)
            a, b = features[:, :, *first], features[:, :, *second]
            count = batch * a.shape[2] * a.shape[3]
            own = gradient[start : start + count].view(batch, 1, *a.shape[2:]) / depth
            start += count
            signed = (a - b).sign_().mul_(own)
            result[:, :, *first] += signed
            result[:, :, *second] -= signed
        return result, None, None


def pair_affinities(features: Tensor, offsets: Sequence[Offset], crop: int = 0) -> Tensor:
    """Return exp(−mean |f_p − f_q|), float32[P] in (0, 1], of all pairs.

    Pairs come offset by offset, as those of `pair_labels`. Memory is that of one offset at a time.

    Args:
        features: float[B, D, h, w].
        offsets: of the pairs.
        crop: that of `windows`.
    """
    distances: Callable[..., Tensor] = _Distances.apply
    return torch.exp(-distances(features.float(), tuple(offsets), crop))


def affinity_loss(affinities: Tensor, pairs: PairLabels) -> Tensor:
    """Return ¼ L_background + ¼ L_foreground + ½ L_different, each a mean over its own pairs.

    A positive pair costs −log W, one of different labels −log(1 − W), each with 1e-5 inside.
    """
    together = -torch.log(affinities + EPSILON)
    apart = -torch.log(1 + EPSILON - affinities)

    def mean(losses: Tensor, chosen: Tensor) -> Tensor:
        return (losses * chosen).sum() / (chosen.sum() + EPSILON)

    background, foreground = mean(together, pairs.background), mean(together, pairs.foreground)
    return background / 4 + foreground / 4 + mean(apart, pairs.different) / 2


def line_cells(offset: Offset) -> list[Offset]:
    """Return the cells between (0, 0) and an offset, both included: those less than a cell off the line.

    A wall one cell wide, however it lies, is never jumped.
    """
    dy, dx = offset
    length = (dy**2 + dx**2) ** 0.5
    box = [(y, x) for y in range(min(0, dy), max(0, dy) + 1) for x in range(min(0, dx), max(0, dx) + 1)]
    return [(y, x) for y, x in box if abs(dy * x - dx * y) < length]


def boundary_affinities(boundary: Tensor, offsets: Sequence[Offset]) -> Tensor:
    """Return 1 − the largest boundary on the line between a pair's cells, float32[P] in [0, 1].

    `boundary` is float[B, h, w] in [0, 1]; pairs come as those of `pair_labels` without a crop (IRNet:
    Ahn et al., CVPR 2019). Every offset keeps its inputs alone and is computed again on the way back.
    """
    parts = [checkpoint(_weakest_on_line, boundary, offset, use_reentrant=False) for offset in offsets]
    return torch.cat(parts)


def _weakest_on_line(boundary: Tensor, offset: Offset) -> Tensor:
    height, width = boundary.shape[1:]
    rows, columns = windows(height, width, offset)[0]
    largest: Tensor | None = None
    for dy, dx in line_cells(offset):
        cell = boundary[:, rows.start + dy : rows.stop + dy, columns.start + dx : columns.stop + dx]
        largest = cell if largest is None else torch.maximum(largest, cell)
    assert largest is not None
    return 1 - largest.flatten()
