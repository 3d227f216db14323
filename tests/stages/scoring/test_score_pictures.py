"""The samples that every score keeps: rows of tiles, with tints where masks and maps are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss.data.pictures.palette import PALETTE
from wsss.stages.scoring.pictures import GAP, LINE, TILE, draw_samples


def sample(height: int, width: int, maps: int | None) -> tuple:
    photo = np.full((height, width, 3), 100, np.uint8)
    mask = np.zeros((height, width), np.uint8)
    mask[:, width // 2 :] = 15
    truth = np.zeros((height, width), np.uint8)
    truth[: height // 2] = 8
    cams = None if maps is None else np.zeros((maps, height, width), np.float16)
    if maps:
        cams[0, :, : width // 2] = 1
    return f"{height}x{width}", photo, cams, mask, truth


def tiles(path: Path, columns: int, heights: list[int]) -> list[list[np.ndarray]]:
    with Image.open(path, formats=["PNG"]) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels.shape[1] == GAP + (TILE + GAP) * columns
    rows, top = [], LINE
    for height in heights:
        top += LINE
        starts = [GAP + (TILE + GAP) * column for column in range(columns)]
        rows.append([pixels[top : top + height, start : start + TILE] for start in starts])
        top += height + GAP
    assert pixels.shape[0] == top
    return rows


def test_photo_map_mask_and_truth_stand_beside_each_other(tmp_path: Path) -> None:
    draw_samples(tmp_path / "a.png", [sample(92, 184, 2), sample(184, 92, 1), sample(46, 92, 0)])
    first, second, third = tiles(tmp_path / "a.png", 4, [92, 184, 92])
    photo, heat, mask, truth = first
    assert (photo == 100).all()
    assert np.allclose(heat[40, 40], 0.35 * 100 + 0.65 * np.array([252, 255, 164]), atol=1)
    assert np.allclose(heat[40, 140], 0.35 * 100 + 0.65 * np.array([0, 0, 4]), atol=1)
    assert (mask[:, :90] == 100).all() and np.allclose(
        mask[50, 150], (100 + PALETTE[15].astype(int)) / 2, atol=1
    )
    assert (truth[50:] == 100).all() and np.allclose(
        truth[10, 10], (100 + PALETTE[8].astype(int)) / 2, atol=1
    )
    assert (second[0][:, :92] == 100).all() and (second[0][:, 93:] == 255).all(), (
        "an upright photo, and white"
    )
    assert (third[1] == 100).all(), "without any map the photo alone"


@pytest.mark.parametrize("count", [0, 1])
def test_masks_have_no_column_of_maps(tmp_path: Path, count: int) -> None:
    draw_samples(tmp_path / "a.png", [sample(184, 184, None)] * count)
    assert (tmp_path / "a.png").exists() == bool(count)
    if count:
        assert len(tiles(tmp_path / "a.png", 3, [184])[0]) == 3
