"""Random walk on the grid of an image: scores flow between cells that look alike.

T = A^β · D⁻¹ with A the affinities of neighbours (1 on the diagonal), its power taken element by
element and D its column sums; scores V go to V · T^t (AffinityNet: Ahn and Kwak, CVPR 2018, where t is
256). Each cell has some seventy neighbours, so the matrix is sparse and is applied t times to a handful
of maps. The power T^t itself, which is dense, is never formed.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

from wsss.errors import DataError
from wsss.masks.pairs import Offset, windows

BYTES_PER_ENTRY = 28
"""Bytes a slot of the matrix while it is built: the slot, its column, whether it is kept, and copies of
both."""

NOWHERE = -1


def transition(
    affinities: Tensor, offsets: Sequence[Offset], height: int, width: int, beta: float, crop: int = 0
) -> Tensor:
    """Return the transposed transition matrix D⁻¹ · A^β, a sparse float32[N, N], N = height · width.

    Its compressed rows are canonical: columns ascend, and none comes twice. A is symmetric, so that rows of
    the result sum to 1 as columns of T do. Raises `DataError` when there isn't one affinity a pair.

    Args:
        affinities: float[P] in [0, 1] of one image's pairs, offset by offset; those in float64 give a matrix
            in float64.
        offsets: of the pairs.
        height: of the grid, in cells.
        width: of the grid, in cells.
        beta: the power of the affinities; the larger, the less flows between cells that differ.
        crop: that of `windows`; some cells then have no neighbours, and their scores stay.

    Examples:
        Four cells in a row, with a wall in the middle. All mass starts in the first cell.

        >>> affinities = torch.tensor([1.0, 0.0, 1.0])
        >>> matrix = transition(affinities, [(0, 1)], height=1, width=4, beta=1)
        >>> walk(torch.tensor([[[1.0, 0.0, 0.0, 0.0]]]), matrix, steps=8).tolist()
        [[[0.5, 0.5, 0.0, 0.0]]]
    """
    device = affinities.device
    dtype = torch.promote_types(affinities.dtype, torch.float32)
    pairs = [windows(height, width, offset, crop) for offset in offsets]
    sizes = [len(range(height)[rows]) * len(range(width)[columns]) for (rows, columns), _ in pairs]
    if sum(sizes) != len(affinities):
        raise DataError(f"there are {len(affinities)} affinities, but must be {sum(sizes)}, one a pair")
    # One slot for every neighbour of every cell, in the order of columns; those off the image stay out.
    everywhere = sorted([(0, 0), *offsets, *((-dy, -dx) for dy, dx in offsets)])
    slots = torch.zeros((height, width, len(everywhere)), device=device, dtype=dtype)
    cells = torch.arange(height * width, dtype=torch.int32, device=device).view(height, width)
    columns = cells.new_full((height, width, len(everywhere)), NOWHERE)
    own = everywhere.index((0, 0))
    slots[:, :, own], columns[:, :, own] = 1, cells
    parts = torch.split(affinities.to(dtype) ** beta, sizes)
    for (dy, dx), (first, second), values in zip(offsets, pairs, parts, strict=True):
        there, back = everywhere.index((dy, dx)), everywhere.index((-dy, -dx))
        slots[*first, there] = values.view(cells[first].shape)
        columns[*first, there] = cells[second]
        slots[*second, back] = values.view(cells[first].shape)
        columns[*second, back] = cells[first]
    slots /= slots.sum(2, keepdim=True, dtype=torch.float64)
    there_is = columns != NOWHERE
    starts = torch.zeros(cells.numel() + 1, dtype=torch.int32, device=device)
    starts[1:] = there_is.sum(2).flatten().cumsum(0)
    kept = there_is.flatten().nonzero()[:, 0]
    values, columns = slots.flatten().index_select(0, kept), columns.flatten().index_select(0, kept)
    with warnings.catch_warnings():
        # The message calls compressed rows a beta feature; what we use of them is tested against dense.
        warnings.filterwarnings("ignore", message="Sparse")
        size = cells.numel(), cells.numel()
        return torch.sparse_csr_tensor(starts, columns, values, size=size, check_invariants=False)


def walk(scores: Tensor, matrix: Tensor, steps: int) -> Tensor:
    """Return scores float32[K, h, w] after a random walk.

    Args:
        scores: float32[K, h, w] before it, a map a label.
        matrix: of `transition`, for a grid of h × w cells.
        steps: of the walk, at least 0.
    """
    flowing = scores.flatten(1).T.contiguous()
    for _ in range(steps):
        flowing = matrix @ flowing
    return flowing.T.reshape(scores.shape)


def pooled(scores: Tensor, stride: int, grid: tuple[int, int]) -> Tensor:
    """Return float[K, h, w], the mean of scores float[K, H, W] in every cell of `stride` pixels.

    Cells that reach over the right or lower edge count the missing pixels as 0.

    Args:
        scores: float[K, H, W].
        stride: the side of a cell, in pixels.
        grid: (h, w).
    """
    height, width = scores.shape[1:]
    missing = (0, grid[1] * stride - width, 0, grid[0] * stride - height)
    return avg_pool2d(pad(scores, missing)[None], stride)[0]


def upsampled(scores: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
    """Return float[K, H, W], scores on a grid brought to the photo's pixels, bilinear, cropped.

    Args:
        scores: float[K, h, w].
        stride: the side of a cell, in pixels.
        size: the photo's (H, W).
    """
    grown = interpolate(scores[None], scale_factor=stride, mode="bilinear", align_corners=False)[0]
    return grown[:, : size[0], : size[1]]


def walk_memory(height: int, width: int, stride: int, pairs: int) -> int:
    """Return about how many bytes the matrix of an image takes while it is built.

    Args:
        height: of the photo, in pixels.
        width: of the photo, in pixels.
        stride: the side of a cell, in pixels.
        pairs: how many offsets there are.
    """
    cells = math.ceil(height / stride) * math.ceil(width / stride)
    return cells * (2 * pairs + 1) * BYTES_PER_ENTRY
