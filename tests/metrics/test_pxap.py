"""PxAP against a second implementation: pixels sorted by value, no bins."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from wsss.errors import DataError
from wsss.metrics import PixelRanking


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_it_is_the_average_precision_of_all_pixels(dtype: type) -> None:
    """Average precision has the same definition: precision at each level times the recall that it adds."""
    random = np.random.default_rng(0)
    ranking = PixelRanking()
    values, truth = [], []
    for _ in range(5):
        gt = random.choice(np.array([0, 0, 1, 2, 255], np.uint8), size=(12, 9))
        maps = (random.integers(0, 101, size=(2, 12, 9)) / 100).astype(dtype)
        ranking.add(gt, maps, keys=[0, 1])
        for key in (0, 1):
            values.append(maps[key][gt != 255].astype(np.float64).round(2))
            truth.append((gt == key + 1)[gt != 255])
    expected = average_precision_score(np.concatenate(truth), np.concatenate(values))
    # Halves below a hundredth fall into the bin below; the order stays.
    assert ranking.pxap() == pytest.approx(expected, abs=1e-9)


def test_perfect_maps_have_1_and_constant_ones_the_share_of_the_object() -> None:
    gt = np.array([[1, 0, 0, 0]], np.uint8)
    perfect, constant = PixelRanking(), PixelRanking()
    perfect.add(gt, (gt == 1)[None].astype(np.float32), keys=[0])
    constant.add(gt, np.zeros((1, 1, 4), np.float32), keys=[0])
    assert perfect.pxap() == 1
    assert constant.pxap() == 0.25


def test_an_image_without_classes_has_no_maps_and_nothing_is_undefined() -> None:
    ranking = PixelRanking()
    ranking.add(np.zeros((2, 2), np.uint8), np.zeros((0, 2, 2), np.float32), keys=[])
    assert np.isnan(ranking.pxap())


def test_maps_of_another_size_are_refused() -> None:
    with pytest.raises(DataError, match=r"must be \[2, 2\] like the mask"):
        PixelRanking().add(np.zeros((2, 2), np.uint8), np.zeros((1, 3, 3)), keys=[0])
