from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss.data.pictures.palette import PALETTE
from wsss.errors import DataError
from wsss.masks.images import overlay, read_mask, write_mask


def test_palette_is_that_of_pascal_voc() -> None:
    known = {
        0: (0, 0, 0),
        1: (128, 0, 0),
        2: (0, 128, 0),
        8: (64, 0, 0),
        12: (64, 0, 128),
        15: (192, 128, 128),
    }
    known |= {20: (0, 64, 128), 255: (224, 224, 192)}
    for id, colour in known.items():
        assert tuple(PALETTE[id].tolist()) == colour
    assert len(np.unique(PALETTE, axis=0)) == 256


def test_palette_equals_that_of_the_dataset(voc_root: Path) -> None:
    path = next((voc_root / "SegmentationClass").glob("*.png"))
    with Image.open(path) as image:
        theirs = np.array(image.getpalette()).reshape(-1, 3)
        ids = np.asarray(image)
    np.testing.assert_array_equal(read_mask(path), ids)
    np.testing.assert_array_equal(theirs[:21], PALETTE[:21])


def test_mask_survives_the_round_trip(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).integers(0, 256, (13, 21), dtype=np.uint8)
    path = tmp_path / "deep" / "x.png"
    write_mask(path, mask)
    np.testing.assert_array_equal(read_mask(path), mask)
    with Image.open(path) as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), PALETTE[mask])
    write_mask(path, np.zeros((2, 2), np.uint8))
    assert read_mask(path).shape == (2, 2)
    assert [file.name for file in path.parent.iterdir()] == ["x.png"]


def test_masks_of_few_ids_are_read_as_ids(tmp_path: Path) -> None:
    mask = np.eye(9, dtype=np.uint8) * 3
    write_mask(tmp_path / "x.png", mask.T)
    np.testing.assert_array_equal(read_mask(tmp_path / "x.png"), mask)


def test_refuses_what_is_no_mask(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="int64"):
        write_mask(tmp_path / "x.png", np.zeros((2, 2), np.int64))
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "colour.png")
    with pytest.raises(DataError, match="mode is RGB"):
        read_mask(tmp_path / "colour.png")
    write_mask(tmp_path / "cut.png", np.random.default_rng(0).integers(0, 256, (99, 99), dtype=np.uint8))
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:2000])
    for name in ("cut.png", "missing.png"):
        with pytest.raises(DataError, match=name):
            read_mask(tmp_path / name)


def test_overlay_tints_labelled_pixels_only() -> None:
    rgb = np.full((2, 2, 3), 100, np.uint8)
    mask = np.array([[0, 1], [15, 0]], np.uint8)
    picture = np.asarray(overlay(rgb, mask, 0.5))
    assert picture[0, 0].tolist() == [100, 100, 100]
    assert picture[0, 1].tolist() == [114, 50, 50]
    assert picture[1, 0].tolist() == [146, 114, 114]
    assert overlay(rgb, mask, 1).getpixel((1, 0)) == (128, 0, 0)
    with pytest.raises(DataError, match="like its photo"):
        overlay(rgb, mask[:1])
