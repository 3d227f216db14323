"""The two pictures that every score keeps: its threshold curve, and a few images to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from wsss.masks.images import overlay

Row = tuple[str, np.ndarray, np.ndarray | None, np.ndarray, np.ndarray]
"""(id, photo uint8[H, W, 3], CAMs float[n, H, W] or None, mask uint8[H, W], truth uint8[H, W])."""


def draw_samples(path: Path, rows: Sequence[Row]) -> None:
    """Draw a row an image: photo, strongest CAM (where there are CAMs), mask, ground truth."""
    if not rows:
        return
    titles = (
        ["photo", "CAM", "mask", "ground truth"]
        if rows[0][2] is not None
        else ["photo", "mask", "ground truth"]
    )
    figure = Figure(figsize=(2.4 * len(titles), 2.3 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), len(titles), squeeze=False)
    for line, (id, photo, cams, mask, truth) in zip(axes, rows, strict=True):
        pictures = [photo, np.asarray(overlay(photo, mask)), np.asarray(overlay(photo, truth))]
        if cams is not None:
            pictures.insert(1, photo)
        for column, (axis, picture) in enumerate(zip(line, pictures, strict=True)):
            axis.imshow(picture)
            if cams is not None and column == 1 and len(cams):
                axis.imshow(cams.max(0).astype(np.float32), cmap="inferno", alpha=0.65, vmin=0, vmax=1)
            axis.set_xticks([])
            axis.set_yticks([])
        line[0].set_ylabel(id, fontsize=8)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=10)
    figure.savefig(path, dpi=80)


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
