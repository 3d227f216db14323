"""Woolly cartoon animals that share a body and differ in the head only.

Colours, patterns, pose and size are drawn from the same ranges for every class, so that nothing but
the head (antlers, trunk, ears, mane, horns) tells the class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from wsss.data.sample.canvas import Canvas, Colour, Frame, Ink

SAMPLE_CLASSES: tuple[str, ...] = ("deer", "elephant", "hare", "lion", "ram")

_WOOL: tuple[Colour, ...] = (
    (0.95, 0.91, 0.82),
    (0.82, 0.66, 0.46),
    (0.66, 0.45, 0.29),
    (0.90, 0.60, 0.33),
    (0.66, 0.67, 0.72),
    (0.47, 0.44, 0.48),
    (0.88, 0.70, 0.72),
    (0.66, 0.70, 0.86),
)
_HORN: tuple[Colour, ...] = ((0.93, 0.86, 0.68), (0.80, 0.66, 0.46), (0.60, 0.47, 0.35))
_DARK: Colour = (0.13, 0.10, 0.11)
_PINK: Colour = (0.95, 0.66, 0.66)
_WHITE: Colour = (0.98, 0.97, 0.95)


@dataclass(frozen=True)
class Creature:
    """One animal: its class (0-based), where it stands, and everything about its looks."""

    kind: int
    frame: Frame  # origin at the middle of the body, unit = half the body's length
    head: tuple[float, float]
    head_size: float
    legs: float  # length below the body, 0 = lying
    wool: Colour
    patch: Colour
    patches: float  # share of tufts in the second colour
    face: Colour
    horn: Colour
    mane: Colour
    nod: float

    @property
    def foot(self) -> float:
        """Return the y where it touches the ground, in fine pixels."""
        return self.frame.y + self.frame.unit * (0.62 + self.legs)

    def head_centre(self) -> tuple[float, float]:
        """Return where the middle of the head is, in fine pixels."""
        return self.frame.at(*self.head)


def blend(a: Colour, b: Colour, share: float) -> Colour:
    """Return the mix of two colours, `share` of the second."""
    return (a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1]), a[2] + share * (b[2] - a[2]))


def _near(colour: Colour, rng: np.random.Generator, spread: float = 0.05) -> Colour:
    shift = rng.uniform(-spread, spread, 3) + rng.uniform(-spread, spread)
    r, g, b = (float(min(1.0, max(0.06, c + s))) for c, s in zip(colour, shift, strict=True))
    return (r, g, b)


def draw_creature(kind: int, frame: Frame, rng: np.random.Generator) -> Creature:
    """Draw an animal's looks; nothing drawn here depends on its class."""
    wool, patch, face, mane = (_near(_WOOL[int(i)], rng) for i in rng.integers(len(_WOOL), size=4))
    if rng.random() < 0.5:
        face = _near(wool, rng, 0.03)
    legs = float(rng.choice([0.06, 0.30, 0.38, 0.46]))
    grazing = rng.random() < 0.25
    head = (1.28 + rng.uniform(-0.06, 0.08), (0.06 if grazing else -0.6) + rng.uniform(-0.12, 0.12))
    return Creature(
        kind=kind,
        frame=frame,
        head=head,
        head_size=0.48 * rng.uniform(0.92, 1.08),
        legs=legs,
        wool=wool,
        patch=patch,
        patches=float(rng.choice([0.0, 0.0, 0.3, 0.5])),
        face=face,
        horn=_near(_HORN[int(rng.integers(len(_HORN)))], rng, 0.03),
        mane=mane,
        nod=rng.uniform(-0.16, 0.16),
    )


def paint_creature(canvas: Canvas, one: Creature, owner: int, rng: np.random.Generator) -> None:
    """Paint an animal as object `owner`; its head is the telling part, everything else the rest."""
    rest, telling = Ink(owner, 2 * one.kind + 2), Ink(owner, 2 * one.kind + 1)
    unit = one.frame.unit
    canvas.shadow(one.frame.x, one.foot, 1.25 * unit, 0.26 * unit)
    _legs(canvas, one, rest)
    _body(canvas, one, rest, rng)
    head = one.frame.child(one.head[0], one.head[1], one.head_size, one.nod)
    _HEADS[one.kind](canvas, head, one, telling, rng)


def _legs(canvas: Canvas, one: Creature, ink: Ink) -> None:
    f, unit = one.frame, one.frame.unit
    if one.legs < 0.2:  # lying: two paws peep out
        for x in (-0.55, 0.62):
            canvas.tube([f.at(x, 0.55), f.at(x + 0.28, 0.58)], [0.13 * unit] * 2, one.face, ink)
        return
    ground = 0.62 + one.legs
    for x, shade in ((-0.38, 0.72), (0.58, 0.72), (-0.62, 1.0), (0.36, 1.0)):
        colour = blend(_DARK, one.face, shade)
        canvas.tube([f.at(x, 0.3), f.at(x, ground - 0.12)], [0.16 * unit, 0.13 * unit], colour, ink)
        canvas.tube(
            [f.at(x - 0.02, ground - 0.09), f.at(x + 0.04, ground - 0.09)], [0.13 * unit] * 2, _DARK, ink
        )


def _body(canvas: Canvas, one: Creature, ink: Ink, rng: np.random.Generator) -> None:
    f, unit = one.frame, one.frame.unit
    neck = f.at(one.head[0] * 0.92, one.head[1] * 0.92)
    canvas.tube([f.at(0.55, -0.1), neck], [0.40 * unit, 0.27 * unit], one.wool, ink)
    canvas.balls([f.at(-1.02, -0.2), f.at(-1.12, -0.3)], [0.19 * unit, 0.15 * unit], one.wool, ink)
    points, radii = [f.at(x, 0.0) for x in (-0.45, 0.0, 0.45)], [0.55 * unit] * 3
    turn = rng.uniform(0, 2 * math.pi)
    for ring, count, size in ((1.0, 12, 0.29), (0.5, 8, 0.33)):
        for step in range(count):
            angle = turn + 2 * math.pi * step / count
            points.append(f.at(0.76 * ring * math.cos(angle), 0.44 * ring * math.sin(angle)))
            radii.append(size * unit * rng.uniform(0.9, 1.12))
    colours = []
    for index, (_, y) in enumerate(points):
        base = one.patch if index > 2 and rng.random() < one.patches else one.wool
        lower = min(1.0, max(0.0, 0.5 + (y - f.y) / unit))  # the belly lies in its own shade
        colours.append(blend(base, _DARK, 0.28 * lower))
    canvas.balls(points, radii, colours, ink)


def _eyes(canvas: Canvas, f: Frame, ink: Ink, *, apart: float = 0.38, y: float = -0.12) -> None:
    for side in (-1, 1):
        x = 0.08 + side * apart
        canvas.balls([f.at(x, y)], [0.20 * f.unit], _WHITE, ink, glow=0.6, rough=0)
        canvas.balls([f.at(x + 0.05, y + 0.03)], [0.125 * f.unit], _DARK, ink, glow=0.6, rough=0)


def _muzzle(canvas: Canvas, f: Frame, colour: Colour, ink: Ink, size: float, length: float) -> None:
    canvas.tube([f.at(0.08, 0.35), f.at(0.1, 0.35 + length)], [size * f.unit] * 2, colour, ink)
    nose = f.at(0.1, 0.28 + length)
    canvas.tube(
        [(nose[0] - 0.1 * f.unit, nose[1]), (nose[0] + 0.1 * f.unit, nose[1])],
        [0.13 * f.unit] * 2,
        _DARK,
        ink,
        rough=0,
    )


def _skull(canvas: Canvas, f: Frame, colour: Colour, ink: Ink, width: float, height: float) -> None:
    radius = min(width, height) * f.unit
    dx, dy = max(0.0, width - height), max(0.0, height - width)
    canvas.tube([f.at(-dx, -dy), f.at(dx, dy)], [radius, radius], colour, ink)


def _deer(canvas: Canvas, f: Frame, one: Creature, ink: Ink, rng: np.random.Generator) -> None:
    for side in (-1, 1):
        beam = [f.at(side * 0.35, -0.6), f.at(side * 0.75, -1.15), f.at(side * 0.8, -1.9)]
        canvas.tube(beam, [0.17 * f.unit, 0.16 * f.unit, 0.11 * f.unit], one.horn, ink)
        for start, end in (((0.74, -1.1), (1.3, -1.4)), ((0.77, -1.4), (0.35, -1.85))):
            tine = [f.at(side * start[0], start[1]), f.at(side * end[0], end[1])]
            canvas.tube(tine, [0.14 * f.unit, 0.1 * f.unit], one.horn, ink)
        ear = [f.at(side * 0.6, -0.35), f.at(side * 1.15, -0.45)]
        canvas.tube(ear, [0.24 * f.unit, 0.12 * f.unit], one.face, ink)
    _skull(canvas, f, one.face, ink, 0.72, 0.84)
    _muzzle(canvas, f, blend(one.face, _WHITE, 0.35), ink, 0.40, 0.32)
    _eyes(canvas, f, ink)


def _elephant(canvas: Canvas, f: Frame, one: Creature, ink: Ink, rng: np.random.Generator) -> None:
    for side in (-1, 1):
        canvas.tube(
            [f.at(side * 1.0, -0.35), f.at(side * 0.95, 0.15)], [0.66 * f.unit, 0.5 * f.unit], one.face, ink
        )
        canvas.tube(
            [f.at(side * 1.03, -0.32), f.at(side * 0.98, 0.1)],
            [0.42 * f.unit, 0.3 * f.unit],
            blend(one.face, _PINK, 0.6),
            ink,
        )
    _skull(canvas, f, one.face, ink, 0.82, 0.86)
    curl = rng.uniform(0.3, 0.8)
    for side in (-1, 1):
        tusk = [f.at(0.1 + side * 0.34, 0.45), f.at(0.1 + side * 0.52, 0.98)]
        canvas.tube(tusk, [0.14 * f.unit, 0.08 * f.unit], one.horn, ink)
    trunk = [f.at(0.1, 0.25), f.at(0.12, 0.9), f.at(0.3, 1.35), f.at(0.35 + curl, 1.4), f.at(0.5 + curl, 1.1)]
    canvas.tube(trunk, [r * f.unit for r in (0.36, 0.31, 0.27, 0.24, 0.2)], blend(one.face, _DARK, 0.08), ink)
    _eyes(canvas, f, ink, apart=0.42, y=-0.15)


def _hare(canvas: Canvas, f: Frame, one: Creature, ink: Ink, rng: np.random.Generator) -> None:
    lean = rng.uniform(-0.2, 0.2)
    for side in (-1, 1):
        tip = (side * 0.55 + lean, -2.1)
        ear = [f.at(side * 0.36, -0.55), f.at(side * 0.48 + lean / 2, -1.35), f.at(*tip)]
        canvas.tube(ear, [0.26 * f.unit, 0.34 * f.unit, 0.18 * f.unit], one.face, ink)
        inner = [f.at(side * 0.4, -0.75), f.at(side * 0.49 + lean / 2, -1.35), f.at(tip[0], -1.95)]
        canvas.tube(inner, [0.12 * f.unit, 0.18 * f.unit, 0.08 * f.unit], blend(one.face, _PINK, 0.75), ink)
    _skull(canvas, f, one.face, ink, 0.86, 0.78)
    canvas.balls(
        [f.at(-0.2, 0.42), f.at(0.38, 0.42)], [0.36 * f.unit] * 2, blend(one.face, _WHITE, 0.45), ink
    )
    canvas.tube([f.at(0.09, 0.6), f.at(0.09, 0.78)], [0.14 * f.unit] * 2, _WHITE, ink, rough=0)
    canvas.balls([f.at(0.09, 0.22)], [0.14 * f.unit], blend(_PINK, _DARK, 0.2), ink, rough=0)
    _eyes(canvas, f, ink)


def _lion(canvas: Canvas, f: Frame, one: Creature, ink: Ink, rng: np.random.Generator) -> None:
    turn = rng.uniform(0, 1)
    angles = [turn + 2 * math.pi * step / 11 for step in range(11)]
    mane = [f.at(1.02 * math.cos(a), 1.02 * math.sin(a)) for a in angles]
    canvas.balls(mane, [0.46 * f.unit] * 11, [blend(one.mane, _DARK, 0.12 * (i % 3)) for i in range(11)], ink)
    for side in (-1, 1):
        canvas.balls([f.at(side * 0.62, -0.72)], [0.27 * f.unit], one.face, ink)
    _skull(canvas, f, one.face, ink, 0.86, 0.82)
    canvas.balls(
        [f.at(-0.14, 0.42), f.at(0.32, 0.42)], [0.32 * f.unit] * 2, blend(one.face, _WHITE, 0.55), ink
    )
    canvas.tube([f.at(0.0, 0.2), f.at(0.18, 0.2)], [0.14 * f.unit] * 2, _DARK, ink, rough=0)
    _eyes(canvas, f, ink)


def _ram(canvas: Canvas, f: Frame, one: Creature, ink: Ink, rng: np.random.Generator) -> None:
    _skull(canvas, f, one.face, ink, 0.72, 0.86)
    _muzzle(canvas, f, blend(one.face, _WHITE, 0.2), ink, 0.42, 0.28)
    _eyes(canvas, f, ink, apart=0.34)
    stripes = [blend(one.horn, _DARK, 0.30 * (step % 2)) for step in range(11)]
    for side in (-1, 1):
        points, radii = [], []
        for step in range(12):
            angle = -0.62 * math.pi + step * 0.155 * math.pi
            reach = 0.66 - 0.036 * step
            points.append(f.at(side * (0.86 + reach * math.cos(angle)), -0.28 + reach * math.sin(angle)))
            radii.append((0.33 - 0.016 * step) * f.unit)
        canvas.tube(points, radii, stripes, ink)


_HEADS = (_deer, _elephant, _hare, _lion, _ram)
