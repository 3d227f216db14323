"""Pictures to look at: a photo under its mask, with outlines and names, and many of them on one sheet."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from wsss.files import write_atomic
from wsss.labels import IGNORED
from wsss.masks.images import Mask

Rgb = npt.NDArray[np.uint8]
LONGEST = 1600
"""Pixels of a picture's longer side: a photo from a phone has thrice as many."""
TINT = 0.45
SHEET, TILE, GAP = 24, 220, 4
"""Photos of a sheet, pixels of a photo's longer side on it and between two."""
COLOURS = np.array(
    [
        (230, 60, 50), (40, 140, 230), (250, 190, 30), (60, 180, 75), (170, 80, 220), (250, 130, 40),
        (30, 200, 200), (240, 80, 180), (150, 220, 60), (140, 100, 60), (90, 90, 240), (230, 150, 140),
    ],
    np.uint8,
)  # fmt: skip
"""Of the first classes, told apart on photos; more classes begin again, a little darker."""


def colour(id: int) -> tuple[int, int, int]:
    """Return the RGB of a class in pictures, by its id in masks, from 1."""
    again, place = divmod(id - 1, len(COLOURS))
    red, green, blue = (int(value * 0.75 ** (again % 4)) for value in COLOURS[place])
    return red, green, blue


def pictured(rgb: Rgb, mask: Mask, names: Sequence[str], longest: int = LONGEST) -> Image.Image:
    """Return a photo whose objects are tinted and outlined, with the names of their classes in a corner.

    Args:
        rgb: uint8[H, W, 3].
        mask: uint8[H, W], 0 background, k the k-th class; what nobody knows, 255, stays as it is.
        names: of the classes.
        longest: pixels of the picture's longer side, at most.
    """
    scale = min(1.0, longest / max(mask.shape))
    size = max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale))
    photo = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC), np.float32)
    ids = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    there = [int(id) for id in np.unique(ids) if 0 < id <= len(names) and id != IGNORED]
    colours = np.zeros((256, 3), np.float32)
    for id in there:
        colours[id] = colour(id)
    shown = np.isin(ids, there)
    share = TINT * shown[..., None]
    tinted = (1 - share) * photo + share * colours[ids]
    edge = shown & _outline(ids, max(1, round(max(size) / 500)))
    tinted[edge] = colours[ids][edge]
    picture = Image.fromarray(np.rint(tinted).astype(np.uint8))
    _name(picture, [(names[id - 1], colour(id)) for id in there])
    return picture


def _outline(ids: Mask, width: int) -> npt.NDArray[np.bool_]:
    """Return where another id is at most so many pixels away, to the side, above or below."""
    edge = np.zeros(ids.shape, bool)
    for step in range(1, width + 1):
        down, right = ids[step:] != ids[:-step], ids[:, step:] != ids[:, :-step]
        edge[step:] |= down
        edge[:-step] |= down
        edge[:, step:] |= right
        edge[:, :-step] |= right
    return edge


def _name(picture: Image.Image, classes: Sequence[tuple[str, tuple[int, int, int]]]) -> None:
    """Write the names of classes, each in a field of its colour, along the lower edge."""
    draw = ImageDraw.Draw(picture)
    size = max(10, round(max(picture.size) / 40))
    font = ImageFont.load_default(size)
    left = pad = pad_of(size)
    for name, back in classes or [("nothing found", (90, 90, 90))]:
        box = draw.textbbox((0, 0), name, font=font)
        width, height = box[2] + 2 * pad, size + 2 * pad
        top = picture.height - height - pad
        dark = 0.299 * back[0] + 0.587 * back[1] + 0.114 * back[2] < 150
        draw.rectangle((left, top, left + width, top + height), fill=back)
        draw.text((left + pad, top + pad), name, "white" if dark else "black", font=font, anchor="lt")
        left += round(width) + pad


def pad_of(size: int) -> int:
    """Return the pixels around letters of a size."""
    return max(3, size // 3)


def write_picture(path: Path, picture: Image.Image) -> None:
    """Write a JPEG, whole or not at all."""
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=88)
    write_atomic(path, content.getvalue())


def write_sheet(path: Path, pictures: Sequence[Path]) -> None:
    """Write some of the pictures, evenly spaced, on one sheet, six in a row."""
    chosen = list(pictures)[:: max(1, -(-len(pictures) // SHEET))]
    columns = min(6, len(chosen))
    rows = -(-len(chosen) // columns)
    step = TILE + GAP
    sheet = Image.new("RGB", (columns * step + GAP, rows * step + GAP), "white")
    for number, one in enumerate(chosen):
        with Image.open(one, formats=["JPEG"]) as picture:
            picture.thumbnail((TILE, TILE), Image.Resampling.BICUBIC)
            row, column = divmod(number, columns)
            left = GAP + column * step + (TILE - picture.width) // 2
            top = GAP + row * step + (TILE - picture.height) // 2
            sheet.paste(picture, (left, top))
    write_picture(path, sheet)
