"""Masks drawn from COCO's outlines and run-length codes, by `pycocotools`.

Its C code believes what it is given: a length that is a lie makes it write where it must not, and a corner
far away makes it take memory for the way there. Both are looked at before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wsss.data.tables.text import quote


def draw_mask(
    shapes: Sequence[tuple[int, float, int, Any]], width: int, height: int
) -> npt.NDArray[np.uint8]:
    """Return the ids uint8[H, W] of an image: 0 for background, k for the k-th class.

    Smaller objects lie on larger ones, by the `area` that the file states, as in the masks that the field
    uses. Raises `ValueError` that names the annotation whose outline can't be drawn.

    Args:
        shapes: class from 1, area, annotation's id, and polygons or a run-length code.
        width: of the image, in pixels.
        height: in pixels.

    Examples:
        A square of class 1, and a smaller one of class 2 upon it:

        >>> square, corner = [[0, 0, 3, 0, 3, 3, 0, 3]], [[0, 0, 1, 0, 1, 1, 0, 1]]
        >>> draw_mask([(1, 9, 7, square), (2, 1, 8, corner)], 4, 3).tolist()
        [[2, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0]]
    """
    from pycocotools import mask as coco

    ids = np.zeros((height, width), np.uint8)
    for number, _, annotation, shape in sorted(shapes, key=lambda one: one[1]):
        try:
            codes = _codes(shape, width, height)
            drawn = coco.decode(coco.merge(coco.frPyObjects(codes, height, width)))
        except ValueError as error:
            raise ValueError(f"annotation {annotation}: {error}") from error
        ids[(drawn > 0) & (ids == 0)] = number
    return ids


def _codes(shape: Any, width: int, height: int) -> list[Any]:
    """Return what `frPyObjects` takes: checked polygons, or one checked code without compression."""
    if isinstance(shape, dict):
        size, counts = shape.get("size"), shape.get("counts")
        if size != [height, width]:
            raise ValueError(f"its code is of {quote(size)} pixels, but the image has {[height, width]}")
        runs: Any = _uncompressed(counts) if isinstance(counts, str) else counts
        whole = isinstance(runs, list) and all(
            isinstance(run, int) and not isinstance(run, bool) and 0 <= run <= width * height for run in runs
        )
        if not whole or sum(runs) != width * height:
            raise ValueError(f"its runs {quote(counts)} don't add up to the image's {width * height} pixels")
        return [{"size": size, "counts": runs}]
    if not shape:
        raise ValueError("it has no outline")
    far = max(width, height)
    for polygon in shape:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(f"a polygon is {quote(polygon)}, but must be x and y of three corners or more")
        for value in polygon:
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"a corner is at {quote(value)}, but must be at a number")
            if not -far <= value <= 2 * far:
                raise ValueError(f"a corner is at {value:g}, far outside of {width} × {height} pixels")
    return list(shape)


def _uncompressed(text: str) -> list[int]:
    """Return the runs that a compressed code stands for: six bits a character, five of them the number's,
    each run from the third on as its difference to the one two before it."""
    runs: list[int] = []
    place = 0
    while place < len(text):
        value, shift, more = 0, 0, True
        while more:
            if place == len(text) or shift > 60 or not 48 <= ord(text[place]) < 112:
                raise ValueError(f"its code {quote(text)} is damaged")
            bits = ord(text[place]) - 48
            value |= (bits & 31) << shift
            more = bool(bits & 32)
            place, shift = place + 1, shift + 5
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    return runs
