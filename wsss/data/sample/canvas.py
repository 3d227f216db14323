"""A small painter of shaded solids that keeps, beside the colours, whose pixel is whose.

Everything is drawn at `OVERSAMPLING` times the final resolution and averaged down at the end, which
is what makes the edges smooth. Coordinates are (x, y) in fine pixels, y downwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from wsss.labels import IGNORED

Colour = tuple[float, float, float]
Point = tuple[float, float]
Points = Sequence[Point]
Radii = Sequence[float]
Colours = Colour | Sequence[Colour]
Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

OVERSAMPLING = 3
_LIGHT = (-0.42, -0.66, 0.62)


@dataclass(frozen=True)
class Frame:
    """A local coordinate system on the canvas: origin, length of one unit, mirroring and tilt."""

    x: float
    y: float
    unit: float
    mirror: float = 1.0
    tilt: float = 0.0

    def at(self, x: float, y: float) -> Point:
        """Return the canvas position of the local point (x, y)."""
        cos, sin = math.cos(self.tilt), math.sin(self.tilt)
        return (
            self.x + self.unit * self.mirror * (cos * x - sin * y),
            self.y + self.unit * (sin * x + cos * y),
        )

    def child(self, x: float, y: float, scale: float, tilt: float = 0.0) -> Frame:
        """Return a frame at the local point (x, y), `scale` units long, turned by `tilt` more."""
        cx, cy = self.at(x, y)
        return Frame(cx, cy, self.unit * scale, self.mirror, self.tilt + tilt)


@dataclass(frozen=True)
class Ink:
    """What a solid is painted as: the object it belongs to (0 = none) and its part id."""

    owner: int = 0
    part: int = 0


NOBODY = Ink()


class Finish(TypedDict, total=False):
    """What the surface of a solid is like."""

    glow: float
    """0..1 flattens the shading; 0 when it is missing."""
    rough: float
    """The amount of fur: 0 for none."""


class Canvas:
    """Colours float32[h, w, 3] in 0..1, and per fine pixel its object and its part."""

    def __init__(self, scenery: Floats, fur: Floats, tint: Colour) -> None:
        """Start from `scenery` float32[H, W, 3] and a fine texture `fur` float32[H, W] around 1."""
        self.rgb: Floats = scenery.repeat(OVERSAMPLING, 0).repeat(OVERSAMPLING, 1)
        self._fur: Floats = fur.repeat(OVERSAMPLING, 0).repeat(OVERSAMPLING, 1)
        self._tint = np.asarray(tint, np.float32)
        self.height, self.width = self.rgb.shape[:2]
        self.owner: Bytes = np.zeros((self.height, self.width), np.uint8)
        self.part: Bytes = np.zeros((self.height, self.width), np.uint8)

    def tube(
        self, points: Points, radii: Radii, colours: Colours, ink: Ink = NOBODY, **finish: Unpack[Finish]
    ) -> None:
        """Paint a rounded tube through `points`, its radius changing linearly between them; `colours` may
        differ by segment."""
        pairs = zip(points[:-1], points[1:], radii[:-1], radii[1:], strict=True)
        self._solid(list(pairs), colours, ink, {"rough": 0.6, **finish})

    def balls(
        self, points: Points, radii: Radii, colours: Colours, ink: Ink = NOBODY, **finish: Unpack[Finish]
    ) -> None:
        """Paint the union of balls, each shaded by itself: wool, leaves, or a single ball."""
        self._solid([(p, p, r, r) for p, r in zip(points, radii, strict=True)], colours, ink, finish)

    def shadow(self, x: float, y: float, rx: float, ry: float, strength: float = 0.45) -> None:
        """Darken a soft ellipse on the ground; its pixels are background."""
        top, bottom = max(0, int(y - ry)), min(self.height, int(y + ry) + 2)
        left, right = max(0, int(x - rx)), min(self.width, int(x + rx) + 2)
        if top >= bottom or left >= right:
            return
        ys = ((np.arange(top, bottom, dtype=np.float32) - y) / ry)[:, None]
        xs = ((np.arange(left, right, dtype=np.float32) - x) / rx)[None, :]
        dark = 1 - strength * np.clip(1 - ys * ys - xs * xs, 0, 1)
        self.rgb[top:bottom, left:right] *= dark[..., None].astype(np.float32)

    def _solid(
        self,
        segments: Sequence[tuple[Point, Point, float, float]],
        colours: Colours,
        ink: Ink,
        finish: Finish,
    ) -> None:
        """Paint where any segment's normalised distance is below 1, shaded by the nearest one's normal."""
        glow, rough = finish.get("glow", 0.0), finish.get("rough", 1.0)
        reach = [max(ra, rb) for _, _, ra, rb in segments]
        left = max(0, int(min(min(a[0], b[0]) - r for (a, b, _, _), r in zip(segments, reach, strict=True))))
        top = max(0, int(min(min(a[1], b[1]) - r for (a, b, _, _), r in zip(segments, reach, strict=True))))
        right = max(max(a[0], b[0]) + r for (a, b, _, _), r in zip(segments, reach, strict=True))
        bottom = max(max(a[1], b[1]) + r for (a, b, _, _), r in zip(segments, reach, strict=True))
        width, height = min(self.width, int(right) + 2) - left, min(self.height, int(bottom) + 2) - top
        if width <= 0 or height <= 0:
            return
        best = np.full((height, width), 1.0, np.float32)
        nx: Floats = np.zeros_like(best)
        ny: Floats = np.zeros_like(best)
        which = np.zeros((height, width), np.intp)
        for index, (a, b, ra, rb) in enumerate(segments):
            r = reach[index]
            x0, x1 = int(min(a[0], b[0]) - r) - left, int(max(a[0], b[0]) + r) + 2 - left
            y0, y1 = int(min(a[1], b[1]) - r) - top, int(max(a[1], b[1]) + r) + 2 - top
            x0, x1, y0, y1 = max(0, x0), min(width, x1), max(0, y0), min(height, y1)
            if x0 >= x1 or y0 >= y1:
                continue
            px = np.arange(x0 + left, x1 + left, dtype=np.float32)[None, :] - np.float32(a[0])
            py = np.arange(y0 + top, y1 + top, dtype=np.float32)[:, None] - np.float32(a[1])
            dx, dy = b[0] - a[0], b[1] - a[1]
            length2 = dx * dx + dy * dy
            if length2 > 0:
                along = (px * np.float32(dx) + py * np.float32(dy)) / np.float32(length2)
                t: Floats = np.asarray(np.clip(along, 0, 1), np.float32)
                radius: Floats = np.asarray(ra + (rb - ra) * t, np.float32)
                qx: Floats = np.asarray((px - t * dx) / radius, np.float32)
                qy: Floats = np.asarray((py - t * dy) / radius, np.float32)
            else:
                qx, qy = np.asarray(px / ra, np.float32), np.asarray(py / ra, np.float32)
            distance = qx * qx + qy * qy
            view = (slice(y0, y1), slice(x0, x1))
            nearer = distance < best[view]
            np.copyto(best[view], distance, where=nearer)
            np.copyto(nx[view], qx, where=nearer)
            np.copyto(ny[view], qy, where=nearer)
            which[view][nearer] = index
        inside = best < 1
        nz = np.sqrt(1 - best[inside])
        lit = nx[inside] * _LIGHT[0] + ny[inside] * _LIGHT[1] + nz * _LIGHT[2]
        shade = 0.60 + 0.42 * np.maximum(lit, -0.35) + 0.10 * nz
        shade = shade + glow * (1 - shade)
        window = (slice(top, top + height), slice(left, left + width))
        shade = shade * (1 + rough * (self._fur[window][inside] - 1))
        paint = np.asarray(colours, np.float32)
        base = paint[which[inside]] if paint.ndim == 2 else paint[None]
        self.rgb[window][inside] = base * self._tint * shade[:, None]
        self.owner[window][inside] = ink.owner
        self.part[window][inside] = ink.part

    def picture(self) -> Bytes:
        """Return the averaged-down picture, uint8[H, W, 3]."""
        n = OVERSAMPLING
        fine = np.clip(self.rgb, 0, 1)
        rows = sum((fine[k::n] for k in range(1, n)), start=fine[0::n])
        total = sum((rows[:, k::n] for k in range(1, n)), start=rows[:, 0::n])
        return np.asarray(total * np.float32(255 / n**2) + np.float32(0.5), np.uint8)

    def owners(self) -> Bytes:
        """Return whose each final pixel's centre is, uint8[H, W]."""
        half = OVERSAMPLING // 2
        return self.owner[half::OVERSAMPLING, half::OVERSAMPLING].copy()

    def parts(self) -> Bytes:
        """Return the part at each final pixel's centre, 255 where a border passes, uint8[H, W].

        A pixel is border when the fine pixels in and one around it belong to different objects:
        a band between one and two pixels wide, like the void borders of PASCAL VOC.
        """
        n, half, reach = OVERSAMPLING, OVERSAMPLING // 2, OVERSAMPLING // 2 + 1
        centre = self.owners()
        padded = np.pad(self.owner, reach, mode="edge")
        border = np.zeros(centre.shape, bool)
        for dy in range(half, half + 2 * reach + 1):
            for dx in range(half, half + 2 * reach + 1):
                shifted = padded[dy::n, dx::n][: centre.shape[0], : centre.shape[1]]
                border |= shifted != centre
        parts = self.part[half::n, half::n].copy()
        parts[border] = IGNORED
        return parts
