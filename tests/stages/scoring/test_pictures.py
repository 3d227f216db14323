"""The pictures that scores keep: a row an image, in the colours of photo, CAM and masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss.pipeline.chains.chain import Chain
from wsss.stages.scoring import scores
from wsss.stages.scoring.pictures import GAP, LINE, TILE, Row, draw_curve, draw_samples
from wsss.store.folder_store import Store

GREEN = (40, 160, 70)
"""The colour of photos here, which nothing else in a picture has."""


def row(number: int, cams: int | None) -> Row:
    """A green photo whose first class covers the left half, of another shape for each number."""
    height, width = 40 + 8 * number, 48
    photo = np.full((height, width, 3), GREEN, np.uint8)
    mask = np.zeros((height, width), np.uint8)
    mask[:, : width // 2] = 1
    maps = None if cams is None else np.zeros((cams, height, width), np.float32)
    return f"photo-{number}", photo, maps, mask, mask


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def areas(found: np.ndarray) -> int:
    """Count the separate runs of True along the first axis."""
    return int(np.count_nonzero(np.diff(np.concatenate([[False], found]).astype(int)) == 1))


@pytest.mark.parametrize("cams", [None, 0, 2])
@pytest.mark.parametrize("rows", [1, scores.PICTURES])
def test_every_image_has_its_row(rows: int, cams: int | None, tmp_path: Path) -> None:
    draw_samples(tmp_path / "x.png", [row(number, cams) for number in range(rows)])
    picture = pixels(tmp_path / "x.png")
    assert picture.shape[1] == GAP + (TILE + GAP) * (3 if cams is None else 4)
    green = (np.abs(picture - np.asarray(GREEN)) < 4).all(-1)
    assert areas(green.any(1)) == rows, "photos below each other"


def test_without_images_nothing_is_drawn(tmp_path: Path) -> None:
    draw_samples(tmp_path / "x.png", [])
    assert not list(tmp_path.iterdir())


def test_the_curve_shows_the_threshold_that_was_chosen(tmp_path: Path) -> None:
    thresholds, curve = np.linspace(0, 1, 21), np.linspace(0.2, 0.6, 21)
    pictures = []
    for chosen in (0.2, 0.2, 0.8):
        draw_curve(tmp_path / "x.png", list(thresholds), {"select": curve, "report": curve / 2}, chosen)
        pictures.append(pixels(tmp_path / "x.png"))
    assert (pictures[0] == pictures[1]).all(), "the same bytes for the same numbers"
    assert (pictures[0] != pictures[2]).any()


def test_every_score_keeps_them(calm_store: Store, tiny_chain: Chain) -> None:
    for label in ("cams.scores", "pseudo_masks.scores", "segmentations.scores"):
        files = {path.name for path in calm_store.folder(tiny_chain[label].key).glob("*.png")}
        assert files == {"overlays.png", *(["threshold_curve.png"] if label == "cams.scores" else [])}
        height = pixels(calm_store.folder(tiny_chain[label].key) / "overlays.png").shape[0]
        assert height <= LINE + (LINE + TILE + GAP), "as many as `small_chunks` lets it draw"
