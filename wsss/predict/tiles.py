"""Photos of any size within a stated memory: in one go, or in overlapping tiles whose answers are blended.

A tile's answer is wrong where the network would have looked beyond its edge. Neighbours therefore overlap
by 256 pixels: the outermost quarter of them is thrown away, and in between one answer fades into the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wsss.errors import ConfigError, Problem
from wsss.models.computing.memory import GIB

OVERLAP = 256
SMALLEST = 512
"""The least length of a tile, overlaps included: below it most of the work would be overlap."""
ALIGNMENT = 32
"""Tiles begin at multiples of it, so that a network of stride 8 sees them on the whole photo's grid, at
scales of quarters too."""

Scores = npt.NDArray[np.float32]
Span = tuple[int, int]


@dataclass(frozen=True)
class Tiling:
    """How a photo is cut: `rows` and `columns` are spans (start, stop) of pixels that overlap."""

    rows: tuple[Span, ...]
    columns: tuple[Span, ...]

    @property
    def count(self) -> int:
        return len(self.rows) * len(self.columns)

    @property
    def pixels(self) -> int:
        """How many pixels all tiles have together."""
        return sum(b - a for a, b in self.rows) * sum(b - a for a, b in self.columns)

    @property
    def largest(self) -> tuple[int, int]:
        """The (height, width) of the largest tile."""
        return max(b - a for a, b in self.rows), max(b - a for a, b in self.columns)


def plan_tiles(height: int, width: int, labels: int, per_pixel: float, budget: float) -> Tiling:
    """Return the tiling with the least work that takes at most `budget` bytes.

    A whole row of tiles is kept, as float32, until it is finished. Raises `ConfigError` when even the
    smallest tiles take too much.

    Args:
        height: of the photo.
        width: of the photo.
        labels: how many ids there are, the background included.
        per_pixel: the bytes that segmenting takes for each pixel of a tile.
        budget: in bytes.

    Examples:
        >>> plan_tiles(2000, 3000, labels=21, per_pixel=2000, budget=2 * GIB).rows
        ((0, 864), (608, 1472), (1216, 2000))
    """
    tilings = [Tiling(rows, columns) for rows in _cuts(height) for columns in _cuts(width)]
    needs = [tiling_memory(tiling, labels, per_pixel) for tiling in tilings]
    fitting = [tiling for tiling, need in zip(tilings, needs, strict=True) if need <= budget]
    if not fitting:
        message = (
            f"a photo of {width} × {height} pixels takes {min(needs) / GIB:.2f} GiB even in the smallest "
            f"tiles, but {max(0.0, budget) / GIB:.2f} are left for it"
        )
        raise ConfigError(Problem("--memory", message, "allow more, or use smaller --scales"))
    return min(fitting, key=lambda tiling: tiling.pixels)


def tiling_memory(tiling: Tiling, labels: int, per_pixel: float) -> float:
    """Return the bytes that a tiling takes at its peak.

    Args:
        tiling: of a photo.
        labels: how many ids there are, the background included.
        per_pixel: the bytes that segmenting takes for each pixel of a tile.
    """
    tall, wide = tiling.largest
    strip = 0 if tiling.count == 1 else 4 * labels * (tall + OVERLAP) * tiling.columns[-1][1]
    return tall * wide * per_pixel + strip


def _cuts(length: int) -> list[tuple[Span, ...]]:
    """Return the ways to cut a length into equal spans, from one span to the most that make sense.

    Each but the last is at least `SMALLEST` long, so that its two overlaps don't meet.
    """
    cuts: list[tuple[Span, ...]] = [((0, length),)]
    most = (length - OVERLAP) // (SMALLEST - OVERLAP)
    for number in range(2, most + 1):
        step = math.ceil((length - OVERLAP) / number / ALIGNMENT) * ALIGNMENT
        starts = [start for start in range(0, length, step) if start == 0 or start + OVERLAP < length]
        cut = tuple((start, min(length, start + step + OVERLAP)) for start in starts)
        if len(cut) > 1 and cut != cuts[-1]:
            cuts.append(cut)
    return cuts


def blend_weights(length: int, first: bool, last: bool) -> npt.NDArray[np.float32]:
    """Return float32[length] in [0, 1], how much a span's answer counts; neighbours' weights add up to 1.

    In the overlap with a neighbour: 0 in the outermost quarter, then a straight ramp, then 1 in the
    innermost quarter. At the photo's own edges it is 1.

    Args:
        length: of the span, in pixels.
        first: whether the span begins at the photo's edge.
        last: whether it ends there.
    """
    ramp = np.clip((np.arange(OVERLAP, dtype=np.float32) + 0.5 - OVERLAP / 4) / (OVERLAP / 2), 0, 1)
    weights = np.ones(length, np.float32)
    if not first:
        weights[:OVERLAP] = ramp
    if not last:
        weights[-OVERLAP:] = ramp[::-1]
    return weights


def blended_rows(
    photo: npt.NDArray[np.uint8],
    tiling: Tiling,
    labels: int,
    segment: Callable[[npt.NDArray[np.uint8]], Scores],
) -> Iterator[tuple[int, Scores]]:
    """Yield (top, float32[labels, rows, W]), the blended scores of a photo from its top to its bottom.

    Args:
        photo: uint8[H, W, 3].
        tiling: of this photo.
        labels: how many ids there are, the background included.
        segment: maps a tile uint8[h, w, 3] to float32[labels, h, w].
    """
    width = photo.shape[1]
    if tiling.count == 1:
        yield 0, segment(photo)
        return
    carried: Scores | None = None
    for number, (top, bottom) in enumerate(tiling.rows):
        last = number == len(tiling.rows) - 1
        strip = np.zeros((labels, bottom - top, width), np.float32)
        if carried is not None:
            strip[:, :OVERLAP] = carried
        down = blend_weights(bottom - top, number == 0, last)[:, None]
        for index, (left, right) in enumerate(tiling.columns):
            across = blend_weights(right - left, index == 0, index == len(tiling.columns) - 1)
            scores = segment(np.ascontiguousarray(photo[top:bottom, left:right]))
            weights = down * across
            for own, part in zip(strip[:, :, left:right], scores, strict=True):
                own += weights * part
            del scores
        finished = bottom - top if last else bottom - top - OVERLAP
        carried = None if last else strip[:, finished:].copy()
        yield top, strip[:, :finished]
        del strip
