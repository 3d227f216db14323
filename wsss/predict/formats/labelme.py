"""LabelMe's JSON: a file a photo, whose shapes are polygons that can be edited."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from contourpy import FillType, contour_generator

from wsss.files import write_atomic
from wsss.predict.formats.item import Item, Region

VERSION = "5.5.0"
TOLERANCE = 0.75
"""Pixels that a polygon may lie beside the outline: with fewer points it is easier to edit."""
LEAST_AREA = 16
"""Square pixels of a part, or of a hole in one: smaller ones are left out."""
Points = npt.NDArray[np.float64]


def write_labelme(folder: Path, items: Sequence[Item], classes: Sequence[str]) -> None:
    """Write <photo>.json for each photo, each whole or not at all.

    Args:
        folder: of the files; it is made if need be. LabelMe finds the photos from there.
        items: photos with their masks.
        classes: names, in the order of mask ids.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for item in items:
        (height, width), regions = item.regions(classes)
        shapes = [
            _shape(classes[id - 1], id, points) for id, region in regions for points in polygons(region)
        ]
        content: dict[str, Any] = {
            "version": VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": os.path.relpath(item.photo, folder),
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        path = folder / f"{item.photo.stem}.json"
        write_atomic(path, json.dumps(content, ensure_ascii=False, indent=1).encode())


def _shape(name: str, id: int, points: Points) -> dict[str, Any]:
    rounded = [[round(float(x), 2), round(float(y), 2)] for x, y in points]
    return {"label": name, "points": rounded, "group_id": id, "shape_type": "polygon", "flags": {}}


def polygons(region: Region) -> Iterator[Points]:
    """Yield the (x, y) of the corners of polygons that cover a region bool[H, W], a part each.

    A hole is reached by a cut from the nearest corner, there and back, as polygons have no holes.
    """
    inside = np.pad(region, 1).astype(np.float64)
    found: Any = contour_generator(z=inside, fill_type=FillType.OuterOffset).filled(0.5, 2.0)
    lines, offsets = found
    for points, starts in zip(lines, offsets, strict=True):
        # Padded by one pixel, whose centre has half a pixel on either side: pixel n reaches from n to n + 1.
        rings = [simplified(points[a:b] - 0.5) for a, b in pairwise(starts)]
        if _area(rings[0]) < LEAST_AREA:
            continue
        outline = rings[0][:-1]
        for hole in rings[1:]:
            if _area(hole) >= LEAST_AREA:
                outline = _cut(outline, hole[:-1])
        yield outline


def _area(ring: Points) -> float:
    x, y = ring[:-1].T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def _cut(outline: Points, hole: Points) -> Points:
    """Return one line around an outline and, by a cut, around a hole in it."""
    distances = ((outline[:, None] - hole[None]) ** 2).sum(-1)
    at, to = np.unravel_index(int(distances.argmin()), distances.shape)
    around = np.roll(hole, -int(to), axis=0)
    return np.concatenate([outline[: at + 1], around, around[:1], outline[at:]])


def simplified(ring: Points, tolerance: float = TOLERANCE) -> Points:
    """Return the corners of a closed line [N, 2], first and last equal, that lies at most `tolerance` from
    those left out (Douglas and Peucker, 1973)."""
    kept = np.zeros(len(ring), bool)
    far = int(((ring - ring[0]) ** 2).sum(1).argmax())
    kept[[0, far, -1]] = True
    waiting = [(0, far), (far, len(ring) - 1)]
    while waiting:
        first, last = waiting.pop()
        if last - first < 2:
            continue
        between = ring[first + 1 : last]
        line = ring[last] - ring[first]
        length = float(np.hypot(*line))
        offset = between - ring[first]
        if length:
            distances = abs(line[0] * offset[:, 1] - line[1] * offset[:, 0]) / length
        else:
            distances = np.hypot(offset[:, 0], offset[:, 1])
        farthest = int(distances.argmax())
        if distances[farthest] > tolerance:
            middle = first + 1 + farthest
            kept[middle] = True
            waiting += [(first, middle), (middle, last)]
    return ring[kept]
