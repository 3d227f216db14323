"""The two pictures that every score keeps: its threshold curve, and a few images to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from wsss.masks.images import overlay

Row = tuple[str, np.ndarray, np.ndarray | None, np.ndarray, np.ndarray | None]
"""(id, photo uint8[H, W, 3], CAMs float[n, H, W] or None, mask uint8[H, W], truth uint8[H, W] or None)."""
Rgb = npt.NDArray[np.uint8]

TILE, GAP, LINE = 184, 6, 16
"""Pixels of a picture's longer side, between two, and of a line of text."""
HEAT = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], np.float64)
"""From cold to hot, at equal distances: colours of the map `inferno`."""
HEAT_SHARE = 0.65


def draw_samples(path: Path, rows: Sequence[Row]) -> None:
    """Draw a row an image: photo, strongest CAM (where there are CAMs), mask, ground truth (where it is
    known)."""
    if not rows:
        return
    titles = ["photo", "mask", *(["ground truth"] if rows[0][4] is not None else [])]
    if rows[0][2] is not None:
        titles.insert(1, "CAM")
    tiles = [_tiles(*row[1:]) for row in rows]
    heights = [LINE + line[0].height + GAP for line in tiles]
    canvas = Image.new("RGB", (GAP + (TILE + GAP) * len(titles), LINE + sum(heights)), "white")
    text, font = ImageDraw.Draw(canvas), ImageFont.load_default()
    for column, title in enumerate(titles):
        text.text((GAP + (TILE + GAP) * column, 2), title, "black", font)
    top = LINE
    for row, line, height in zip(rows, tiles, heights, strict=True):
        text.text((GAP, top + 2), row[0], "dimgray", font)
        for column, tile in enumerate(line):
            canvas.paste(tile, (GAP + (TILE + GAP) * column, top + LINE))
        top += height
    canvas.save(path)


def _tiles(
    photo: Rgb, cams: np.ndarray | None, mask: np.ndarray, truth: np.ndarray | None
) -> list[Image.Image]:
    scale = TILE / max(photo.shape[:2])
    size = (max(1, round(photo.shape[1] * scale)), max(1, round(photo.shape[0] * scale)))
    shown = Image.fromarray(photo).resize(size)
    small = np.asarray(shown)
    tiles = [shown]
    if cams is not None:
        tiles.append(shown)
        if len(cams):
            largest = cams.max(0).astype(np.float32)
            tiles[-1] = _heated(small, np.asarray(Image.fromarray(largest).resize(size)))
    known = (ids for ids in (mask, truth) if ids is not None)
    labels = (Image.fromarray(ids).resize(size, Image.Resampling.NEAREST) for ids in known)
    return [*tiles, *(overlay(small, np.asarray(ids)) for ids in labels)]


def _heated(photo: Rgb, cam: npt.NDArray[np.float32]) -> Image.Image:
    """Return a photo uint8[H, W, 3] under the colours of a map float32[H, W] in [0, 1]."""
    stops = np.linspace(0, 1, len(HEAT))
    heat = np.stack([np.interp(cam, stops, channel) for channel in HEAT.T], axis=-1)
    return Image.fromarray(np.rint((1 - HEAT_SHARE) * photo + HEAT_SHARE * heat).astype(np.uint8))


def draw_curve(
    path: Path, thresholds: Sequence[float], curves: Mapping[str, np.ndarray], chosen: float
) -> None:
    """Draw mIoU over the CAM threshold for each split, and the threshold that was chosen.

    Args:
        path: of the PNG file.
        thresholds: T of them, in [0, 1].
        curves: of each split, [T] in [0, 1].
        chosen: the threshold chosen on `select`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # takes a second
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for name, values in curves.items():
        axis.plot(thresholds, 100 * np.asarray(values), label=name)
    axis.axvline(chosen, color="0.4", linestyle="--", linewidth=1, label=f"chosen on select: {chosen:.2f}")
    axis.set_xlabel("CAM threshold")
    axis.set_ylabel("mIoU [%]")
    axis.legend()
    figure.savefig(path, dpi=100)
