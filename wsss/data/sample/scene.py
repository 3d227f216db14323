"""Scenes of the embedded sample: a landscape, clutter, one to three animals, more clutter."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from wsss.data.sample.canvas import OVERSAMPLING, Bytes, Canvas, Frame
from wsss.data.sample.creatures import SAMPLE_CLASSES, Creature, draw_creature, paint_creature
from wsss.data.sample.scenery import THEMES, paint_clutter, paint_cover, paint_scenery
from wsss.labels import IGNORED


@dataclass(frozen=True)
class Scene:
    """A finished scene: picture uint8[H, W, 3], parts uint8[H, W], and its visible objects."""

    picture: Bytes
    parts: Bytes
    objects: tuple[
        tuple[int, tuple[int, int, int, int]], ...
    ]  # (class id 1..C, xmin, ymin, xmax, ymax from 1)

    @property
    def mask(self) -> Bytes:
        """Return the class ids, 0 background, 1..C, 255 border, uint8[H, W]."""
        classes = (self.parts.astype(np.int16) + 1) // 2
        return np.where(self.parts == IGNORED, IGNORED, classes).astype(np.uint8)


def make_scene(rng: np.random.Generator, size: int, first: int) -> Scene:
    """Return a scene whose longer side is `size` pixels and which shows class `first` (0-based).

    Scenes that hide a head, or most of an animal, are thrown away: a label that can't be seen would
    be noise, not difficulty.
    """
    width = height = size
    short = max(16, round(size * float(rng.choice([1.0, 0.875, 0.75]))))
    if rng.random() < 0.7:
        height = short
    else:
        width = short
    count = int(rng.choice([1, 2, 3], p=[0.30, 0.52, 0.18]))
    kinds = [first, *(int(kind) for kind in rng.integers(len(SAMPLE_CLASSES), size=count - 1))]
    while True:
        scene = _attempt(rng, height, width, kinds)
        if scene is not None:
            return scene


def _attempt(rng: np.random.Generator, height: int, width: int, kinds: list[int]) -> Scene | None:
    theme = THEMES[int(rng.integers(len(THEMES)))]
    horizon = rng.uniform(0.12, 0.45)
    animals = _place(rng, height * OVERSAMPLING, width * OVERSAMPLING, kinds, horizon)
    if animals is None:
        return None
    fur = 1 + 0.22 * (rng.random((height, width), np.float32) - 0.5)
    canvas = Canvas(paint_scenery(rng, height, width, theme, horizon), fur, theme.tint)
    paint_clutter(rng, canvas, theme, horizon, int(rng.integers(3, 8)))
    whole = []
    for index, animal in enumerate(animals, start=1):
        paint_creature(canvas, animal, index, rng)
        mine = canvas.owner == index
        whole.append((int(mine.sum()), int((mine & (canvas.part % 2 == 1)).sum())))
        if rng.random() < 0.45:
            paint_cover(rng, canvas, theme, animal)
    objects = []
    owners, parts = canvas.owners(), canvas.parts()
    for index, animal in enumerate(animals, start=1):
        mine = canvas.owner == index
        seen, head = int(mine.sum()), int((mine & (canvas.part % 2 == 1)).sum())
        if seen < 0.55 * whole[index - 1][0] or head < 0.75 * whole[index - 1][1]:
            return None
        inner = (owners == index) & (parts != IGNORED)
        telling = parts[inner] % 2 == 1
        if not telling.any() or telling.all():
            return None
        ys, xs = np.nonzero(inner)  # the box takes in the border, one pixel around
        left, top = max(1, int(xs.min())), max(1, int(ys.min()))
        box = (left, top, min(width, int(xs.max()) + 2), min(height, int(ys.max()) + 2))
        objects.append((animal.kind + 1, box))
    noise = rng.normal(0, 2.5, (height, width, 1))
    picture = np.clip(canvas.picture() + noise, 0, 255).astype(np.uint8)
    return Scene(picture, parts, tuple(objects))


def _place(
    rng: np.random.Generator, height: int, width: int, kinds: list[int], horizon: float
) -> list[Creature] | None:
    """Return the animals, farthest first, or None when they would hide each other's heads."""
    low, high = {1: (0.22, 0.35), 2: (0.20, 0.28), 3: (0.17, 0.22)}[len(kinds)]
    side = math.sqrt(height * width)
    animals = []
    for kind in kinds:
        unit = rng.uniform(low, high) * side
        mirror = 1.0 if rng.random() < 0.5 else -1.0
        x = width * (0.5 + mirror * rng.uniform(-0.46, 0.04))  # to one side, looking inwards
        y = rng.uniform(max(horizon * height, 1.2 * unit), height - 0.6 * unit)
        animals.append(draw_creature(kind, Frame(x, y, unit, mirror, rng.uniform(-0.08, 0.08)), rng))
    animals.sort(key=lambda animal: animal.foot)
    for animal in animals:
        x, y = animal.head_centre()
        reach = 0.6 * animal.frame.unit
        if not (reach < x < width - reach and 0.75 * animal.frame.unit < y < height - reach):
            return None
    for behind, animal in enumerate(animals):
        x, y = animal.head_centre()
        for front in animals[behind + 1 :]:
            unit = front.frame.unit + 0.5 * animal.frame.unit
            hx, hy = front.head_centre()
            if math.hypot(x - front.frame.x, y - front.frame.y) < 1.1 * unit:
                return None
            if math.hypot(x - hx, y - hy) < 0.95 * unit:
                return None
    return animals
