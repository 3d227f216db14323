"""Landscapes of the embedded sample: sky, hills, textured ground, and things that are not labelled."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from wsss.data.sample.canvas import Canvas, Colour, Floats, Frame
from wsss.data.sample.creatures import Creature, blend


@dataclass(frozen=True)
class Theme:
    """A landscape: colours of sky (top, horizon), hills, ground and leaves, and the light's colour."""

    sky: tuple[Colour, Colour]
    hills: Colour
    ground: tuple[Colour, Colour]
    leaves: tuple[Colour, ...]
    tint: Colour = (1.0, 1.0, 1.0)
    stars: bool = False


_GREENS: tuple[Colour, ...] = ((0.30, 0.55, 0.26), (0.42, 0.62, 0.28), (0.22, 0.45, 0.33))
THEMES = (
    Theme(
        ((0.40, 0.68, 0.93), (0.83, 0.93, 0.97)),
        (0.45, 0.66, 0.55),
        ((0.52, 0.72, 0.33), (0.36, 0.57, 0.24)),
        _GREENS,
    ),
    Theme(
        ((0.53, 0.78, 0.90), (0.98, 0.90, 0.75)),
        (0.86, 0.66, 0.45),
        ((0.93, 0.80, 0.56), (0.80, 0.63, 0.40)),
        ((0.45, 0.58, 0.35), (0.60, 0.55, 0.30)),
    ),
    Theme(
        ((0.07, 0.09, 0.24), (0.28, 0.30, 0.52)),
        (0.16, 0.21, 0.36),
        ((0.20, 0.32, 0.36), (0.12, 0.21, 0.27)),
        _GREENS,
        (0.78, 0.81, 0.96),
        True,
    ),
    Theme(
        ((0.93, 0.60, 0.42), (0.99, 0.85, 0.60)),
        (0.62, 0.42, 0.42),
        ((0.72, 0.60, 0.30), (0.55, 0.41, 0.22)),
        ((0.80, 0.45, 0.18), (0.72, 0.58, 0.22), (0.55, 0.30, 0.20)),
        (1.0, 0.94, 0.86),
    ),
    Theme(
        ((0.66, 0.78, 0.90), (0.92, 0.95, 0.98)),
        (0.74, 0.82, 0.90),
        ((0.95, 0.97, 0.99), (0.78, 0.84, 0.92)),
        ((0.30, 0.47, 0.42), (0.85, 0.90, 0.95)),
        (0.97, 0.98, 1.0),
    ),
)
_BRIGHT: tuple[Colour, ...] = ((0.90, 0.27, 0.27), (0.25, 0.52, 0.88), (0.97, 0.78, 0.22), (0.70, 0.36, 0.75))
_STONE: tuple[Colour, ...] = ((0.60, 0.60, 0.62), (0.52, 0.48, 0.45), (0.74, 0.70, 0.64))


def _noise(rng: np.random.Generator, height: int, width: int, cells: int) -> Floats:
    """Return smooth noise in about -1..1 with `cells` bumps along the longer side, float32[H, W]."""
    longer = max(height, width)
    shape = (max(2, cells * height // longer), max(2, cells * width // longer))
    grid = Image.fromarray(rng.uniform(-1, 1, shape).astype(np.float32))
    return np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC), np.float32)


def paint_scenery(rng: np.random.Generator, height: int, width: int, theme: Theme, horizon: float) -> Floats:
    """Return sky, hills and textured ground, float32[H, W, 3]."""
    ys = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    xs = np.linspace(0, 1, width, dtype=np.float32)[None, :]
    top, low = np.asarray(theme.sky, np.float32)
    scene = top + (low - top) * np.clip(ys / max(horizon, 0.05), 0, 1)
    scene = np.broadcast_to(scene, (height, width, 3)).copy()
    if theme.stars:
        stars = rng.random((height, width)) < 0.012
        scene[stars] = rng.uniform(0.6, 1.0)
    scene += 0.05 * _noise(rng, height, width, 5)[..., None]
    for layer in range(2):
        waves = sum(
            rng.uniform(0.02, 0.06) * np.sin(xs * rng.uniform(4, 14) + rng.uniform(0, 6)) for _ in range(2)
        )
        ridge = horizon - 0.07 + 0.05 * layer + waves
        alpha = np.clip((ys[..., 0] - ridge) * height + 0.5, 0, 1)[..., None]
        colour = np.asarray(blend(theme.hills, theme.ground[0], 0.35 * layer), np.float32)
        scene = scene * (1 - alpha) + (colour + 0.04 * _noise(rng, height, width, 12)[..., None]) * alpha
    near, far = np.asarray(theme.ground[1], np.float32), np.asarray(theme.ground[0], np.float32)
    depth = np.clip((ys - horizon) / (1 - horizon), 0, 1)
    texture = 0.10 * _noise(rng, height, width, 6) + 0.08 * _noise(rng, height, width, 24)
    texture = texture + 0.10 * _noise(rng, height, width, 64)
    ground = (far + (near - far) * depth) * (1 + texture[..., None])
    alpha = np.clip((ys - horizon) * height + 0.5, 0, 1)
    scene = scene * (1 - alpha) + ground * alpha
    return np.asarray(scene * rng.uniform(0.88, 1.06), np.float32)


def paint_clutter(rng: np.random.Generator, canvas: Canvas, theme: Theme, horizon: float, count: int) -> None:
    """Paint unlabelled things on the ground, far ones first."""
    feet = np.sort(rng.uniform(horizon, 1.0, count))
    for foot in feet:
        x, y = rng.uniform(0, canvas.width), float(foot) * canvas.height
        unit = canvas.width * rng.uniform(0.04, 0.085) * (0.6 + 0.6 * float(foot))
        _thing(rng, canvas, theme, x, y, unit, int(rng.integers(5)))


def paint_cover(rng: np.random.Generator, canvas: Canvas, theme: Theme, animal: Creature) -> None:
    """Paint a thing in front of an animal's legs or belly."""
    x, _ = animal.frame.at(rng.uniform(-1.0, 0.5), 0)
    unit = animal.frame.unit * rng.uniform(0.22, 0.4)
    _thing(rng, canvas, theme, x, animal.foot + 0.2 * unit, unit, int(rng.choice([0, 1, 2])))


def _thing(
    rng: np.random.Generator, canvas: Canvas, theme: Theme, x: float, y: float, unit: float, kind: int
) -> None:
    """Paint one unlabelled thing standing at (x, y): bush, stone, ball, flowers or tree."""
    f = Frame(x, y, unit)
    canvas.shadow(x, y, 1.2 * unit, 0.3 * unit, 0.35)
    leaf = theme.leaves[int(rng.integers(len(theme.leaves)))]
    bright = _BRIGHT[int(rng.integers(len(_BRIGHT)))]
    if kind == 0:
        _leaves(rng, canvas, f.child(0, -0.55, 1.0), leaf)
    elif kind == 1:
        stone = _STONE[int(rng.integers(len(_STONE)))]
        canvas.tube(
            [f.at(-0.5, -0.35), f.at(0.1, -0.5), f.at(0.55, -0.3)],
            [0.4 * unit, 0.55 * unit, 0.35 * unit],
            stone,
        )
    elif kind == 2:
        canvas.balls([f.at(0, -0.7)], [0.72 * unit], bright, rough=0.2)
        canvas.tube(
            [f.at(-0.5, -0.85), f.at(0.0, -0.7), f.at(0.5, -0.85)],
            [0.13 * unit] * 3,
            (0.97, 0.96, 0.92),
            rough=0.2,
        )
    elif kind == 3:
        for _ in range(4):
            fx, fy = rng.uniform(-1.2, 1.2), rng.uniform(-1.1, -0.5)
            canvas.tube([f.at(fx, 0), f.at(fx, fy)], [0.07 * unit] * 2, (0.33, 0.55, 0.27))
            petals = [
                f.at(fx + 0.2 * math.cos(a), fy + 0.2 * math.sin(a)) for a in (0.3, 1.55, 2.8, 4.1, 5.35)
            ]
            canvas.balls(petals, [0.16 * unit] * 5, bright, glow=0.4)
            canvas.balls([f.at(fx, fy)], [0.12 * unit], (0.99, 0.88, 0.45), glow=0.4)
    else:
        canvas.tube([f.at(0, -0.1), f.at(0.05, -1.6)], [0.24 * unit, 0.16 * unit], (0.47, 0.34, 0.25))
        _leaves(rng, canvas, f.child(0.05, -2.1, 1.1), leaf)


def _leaves(rng: np.random.Generator, canvas: Canvas, f: Frame, leaf: Colour) -> None:
    points, radii, colours = [f.at(0, 0)], [0.62 * f.unit], [leaf]
    for step in range(8):
        angle = 2 * math.pi * step / 8 + rng.uniform(-0.2, 0.2)
        points.append(f.at(0.75 * math.cos(angle), 0.42 * math.sin(angle)))
        radii.append(f.unit * rng.uniform(0.32, 0.46))
        colours.append(blend(leaf, (0.05, 0.08, 0.06), rng.uniform(0, 0.2)))
    canvas.balls(points, radii, colours)
