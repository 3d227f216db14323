"""Boundary F-score against brute force and hand-made outlines; the split of errors by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from wsss.errors import DataError
from wsss.metrics import confusion, pixel_accuracy
from wsss.metrics.boundary import boundary_counts, boundary_f, error_split, mean_boundary_f, near, outline


def brute_force(gt: np.ndarray, pred: np.ndarray, id: int, reach: float) -> list[int]:
    def edge(mask: np.ndarray) -> list[tuple[int, int]]:
        height, width = mask.shape
        found = []
        for y, x in np.argwhere(mask == id).tolist():
            around = [(y + dy, x + dx) for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))]
            if any(0 <= a < height and 0 <= b < width and mask[a, b] != id for a, b in around):
                found.append((y, x))
        return found

    true, predicted = edge(gt), edge(pred)
    near = [any(math.dist(p, t) <= reach for t in true) for p in predicted]
    counted = [n or gt[p] != 255 for n, p in zip(near, predicted, strict=True)]
    found = sum(any(math.dist(p, t) <= reach for p in predicted) for t in true)
    return [sum(near), sum(counted), found, len(true)]


@pytest.mark.parametrize("seed", range(12))
def test_counts_are_those_of_a_double_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 3, (2, 5, 6)).astype(np.uint8)
    gt, pred = (np.kron(block, np.ones((4, 4), np.uint8)) for block in blocks)
    gt[rng.random(gt.shape) < 0.15] = 255
    tolerance = float(rng.choice([0.03, 0.06, 0.12]))
    reach = max(1, round(tolerance * math.hypot(*gt.shape)))
    found = boundary_counts(gt, pred, 3, tolerance)
    for id in (1, 2, 3):
        assert found[id - 1].tolist() == brute_force(gt, pred, id, reach)


def square(top: int, left: int, size: int = 20, id: int = 1, canvas: int = 60) -> np.ndarray:
    mask = np.zeros((canvas, canvas), np.uint8)
    mask[top : top + size, left : left + size] = id
    return mask


def test_a_square_has_an_outline_of_76_and_agrees_with_itself() -> None:
    counts = boundary_counts(square(10, 10), square(10, 10), 1)
    assert counts.tolist() == [[76, 76, 76, 76]]
    assert mean_boundary_f(counts) == 1
    assert outline(square(0, 0, 60).astype(bool)).sum() == 0, "the image's edge is no outline"


def test_a_shift_within_the_tolerance_costs_nothing_and_beyond_it_does() -> None:
    """On 60 × 60 a tolerance of 0.0236 is two pixels."""
    assert mean_boundary_f(boundary_counts(square(10, 10), square(10, 12), 1, 0.0236)) == 1
    counts = boundary_counts(square(10, 10), square(10, 15), 1, 0.0236)[0]
    # Of the left and right sides, five pixels to the side, only what is near a corner is found.
    assert counts.tolist() == brute_force(square(10, 10), square(10, 15), 1, 2)
    assert 0 < boundary_f(counts) < 0.7


def test_what_one_side_lacks_scores_nothing_and_what_both_lack_does_not_count() -> None:
    counts = boundary_counts(square(10, 10), square(10, 10, id=2), 3)
    scores = boundary_f(counts)
    assert scores[:2].tolist() == [0, 0] and np.isnan(scores[2])
    assert mean_boundary_f(counts) == 0
    assert math.isnan(mean_boundary_f(boundary_counts(square(0, 0, 0), square(0, 0, 0), 2)))


def test_a_perfect_mask_under_a_band_of_ignored_pixels_is_perfect() -> None:
    """The true edge lies in the middle of a band of five; a mask that ends there is right."""
    truth = square(20, 20, 40, canvas=400)
    gt = truth.copy()
    gt[square(18, 18, 44, canvas=400) > 0] = 255
    gt[square(23, 23, 34, canvas=400) > 0] = 1
    # Only its four corners are farther than four pixels from the inner edge, and nobody knows there.
    assert boundary_counts(gt, truth, 1)[0].tolist() == [152, 152, 132, 132]
    assert mean_boundary_f(boundary_counts(gt, truth, 1)) == 1
    # A mask that ends farther out, on pixels that count, is wrong; on ignored ones nobody knows.
    far = square(10, 10, 60, canvas=400)
    assert boundary_counts(gt, far, 1)[0, 1] == 236
    gt[gt == 0] = 255
    assert boundary_counts(gt, far, 1)[0].tolist() == [0, 0, 0, 132]


def test_different_sizes_are_refused() -> None:
    with pytest.raises(DataError, match="must be"):
        boundary_counts(square(1, 1), square(1, 1, canvas=50), 1)


def test_errors_split_by_hand_and_add_up() -> None:
    conf = np.array([[50, 3, 2], [4, 20, 5], [6, 1, 9]])
    split = error_split(conf)
    assert split == {"false_positive": 0.05, "false_negative": 0.1, "confused": 0.06}
    assert sum(split.values()) + pixel_accuracy(conf) == pytest.approx(1)
    both = confusion(square(10, 10), square(10, 12), 1)
    assert error_split(both) == {"false_positive": 40 / 3600, "false_negative": 40 / 3600, "confused": 0}


def by_distances(gt: np.ndarray, pred: np.ndarray, classes: int, reach: int) -> np.ndarray:
    """Whole images and Euclid's distance to each outline, as the counts were made once."""
    counts = np.zeros((classes, 4), np.int64)
    for id in range(1, classes + 1):
        true, found = outline(gt == id), outline(pred == id)
        near_true, near_found = (
            distance_transform_edt(~marks) <= reach if marks.any() else np.zeros_like(marks)
            for marks in (true, found)
        )
        counted = found & (near_true | (gt != 255))
        parts = (counted & near_true, counted, true & near_found, true)
        counts[id - 1] = [part.sum() for part in parts]
    return counts


@pytest.mark.parametrize("reach", [1, 2, 3, 5, 8, 13])
@pytest.mark.parametrize("shape", [(60, 80), (1, 30), (30, 1), (7, 7)])
def test_counts_are_those_of_distances_over_the_whole_image(reach: int, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(reach)
    for roughness in (2, 6, 20):
        coarse = rng.integers(0, 4, (2, -(-shape[0] // roughness), -(-shape[1] // roughness)))
        grown = np.kron(coarse, np.ones((1, roughness, roughness), int)).astype(np.uint8)
        gt, pred = grown[:, : shape[0], : shape[1]].copy()
        gt[rng.random(shape) < 0.1] = 255
        tolerance = (reach + 0.2) / math.hypot(*shape)
        assert np.array_equal(boundary_counts(gt, pred, 4, tolerance), by_distances(gt, pred, 4, reach))


@pytest.mark.parametrize("reach", [1, 4, 9])
def test_a_disc_is_what_lies_within_its_radius(reach: int) -> None:
    marks = np.zeros((30, 40), bool)
    marks[3, 2] = marks[20, 33] = True
    rows, columns = np.mgrid[:30, :40]
    expected = np.zeros_like(marks)
    for row, column in np.argwhere(marks):
        expected |= (rows - row) ** 2 + (columns - column) ** 2 <= reach**2
    assert np.array_equal(near(marks, reach), expected)
    assert not near(np.zeros((4, 5), bool), reach).any()
