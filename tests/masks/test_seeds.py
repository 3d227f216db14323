from __future__ import annotations

import numpy as np
import pytest

from wsss.errors import DataError
from wsss.masks.seeds import background_score, threshold_mask


def test_largest_class_wins_where_it_exceeds_the_threshold() -> None:
    cams = np.array([[[0.1, 0.6, 0.5, 0.0]], [[0.2, 0.5, 0.5, 0.9]]], np.float16)
    mask = threshold_mask(cams, [4, 11], 0.25)
    assert mask.dtype == np.uint8
    # Where both are equal, the earlier class wins.
    assert mask.tolist() == [[0, 5, 5, 12]]


def test_ties_with_the_threshold_go_to_the_background() -> None:
    cams = np.array([[[0.25, np.nextafter(np.float32(0.25), 1, dtype=np.float32), 0.0]]], np.float32)
    assert threshold_mask(cams, [0], 0.25).tolist() == [[0, 1, 0]]


def test_extreme_thresholds() -> None:
    random = np.random.default_rng(0)
    cams = random.uniform(1e-3, 1, (2, 6, 7)).astype(np.float16)
    cams[:, 2, 3] = 0
    nothing = threshold_mask(cams, [0, 1], 0) == 0
    assert nothing[2, 3]
    assert nothing.sum() == 1
    assert not threshold_mask(cams, [0, 1], 1).any()


@pytest.mark.parametrize(
    ("exponent", "crossing"),
    [(1, 0.5), (2, 0.382), (4, 0.2755), (8, 0.1883), (16, 0.1228), (24, 0.0939), (32, 0.0770)],
)
def test_exponent_sets_where_one_class_overtakes_the_background(exponent: float, crossing: float) -> None:
    cams = np.array([[[crossing - 1e-3, crossing + 1e-3]]], np.float32)
    assert (cams[0] > background_score(cams, exponent)).tolist() == [[False, True]]


def test_background_is_what_the_largest_cam_leaves() -> None:
    cams = np.array([[[0.5, 0.0, 1.0]], [[0.25, 0.0, 0.5]]], np.float16)
    np.testing.assert_allclose(background_score(cams, 2), [[0.25, 1, 0]])
    np.testing.assert_array_equal(background_score(np.zeros((0, 2, 3), np.float16), 4), np.ones((2, 3)))


def test_without_classes_all_is_background() -> None:
    assert not threshold_mask(np.zeros((0, 2, 3), np.float16), [], 0.1).any()
    assert threshold_mask(np.zeros((0, 2, 3), np.float16), [], 0.1).shape == (2, 3)


def test_refuses_other_numbers_of_classes_than_maps() -> None:
    with pytest.raises(DataError, match="one for each of 1 classes"):
        threshold_mask(np.zeros((2, 3, 3), np.float16), [5], 0.1)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("tau", [0.0, 0.1, 0.25, 1 / 3, 0.59, 1.0])
def test_a_mask_is_the_argmax_over_threshold_and_maps(dtype: type, tau: float) -> None:
    """Values on a coarse grid, so that there are ties, between maps and with the threshold; zeros of both signs."""
    rng = np.random.default_rng(0)
    cams = (rng.integers(-1, 21, (4, 40, 50)) / 20).astype(dtype)
    cams[:, :3] *= -0.0
    before = cams.copy()
    scores = np.concatenate([np.full((1, 40, 50), tau, np.float32), cams.astype(np.float32)])
    expected = np.array([0, 3, 8, 1, 20], np.uint8)[scores.argmax(0)]
    found = threshold_mask(cams, [2, 7, 0, 19], tau)
    assert found.dtype == np.uint8 and np.array_equal(found, expected)
    assert np.array_equal(cams, before)
    assert np.array_equal(threshold_mask(cams[:, :, ::2], [2, 7, 0, 19], tau), expected[:, ::2])


def test_without_a_map_all_is_background() -> None:
    assert threshold_mask(np.zeros((0, 3, 4), np.float16), [], 0.2).tolist() == [[0] * 4] * 3
