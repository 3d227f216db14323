from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsss.errors import ConfigError, DataError
from wsss.masks.images import read_mask
from wsss.masks.seeds import threshold_mask
from wsss.metrics import THRESHOLDS, ThresholdCurve, confusion, miou

CLASSES = 5
Sample = tuple[np.ndarray, np.ndarray, np.ndarray]


def random_images(
    seed: int, count: int, dtype: type, thresholds: tuple[float, ...] = THRESHOLDS
) -> list[Sample]:
    """Images full of ties: CAMs at, just above and just below thresholds, zeros, equal classes."""
    random = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        shape = tuple(random.integers(1, 12, 2))
        keys = np.sort(random.choice(CLASSES, random.integers(0, CLASSES + 1), replace=False))
        at = random.choice(thresholds, (len(keys), *shape)).astype(dtype)
        towards = random.choice([0, 1], at.shape).astype(dtype)
        cams = np.where(random.random(at.shape) < 0.5, at, np.nextafter(at, towards))
        cams = np.where(random.random(at.shape) < 0.3, random.random(at.shape).astype(dtype), cams)
        cams[random.random(at.shape) < 0.1] = 0
        cams[random.random(at.shape) < 0.05] = -0.0
        cams[random.random(at.shape) < 0.05] = 1
        gt = random.choice([*range(CLASSES + 1), 255], shape).astype(np.uint8)
        images.append((gt, cams.astype(dtype), keys))
    return images


def argmax_confusion(gt: np.ndarray, cams: np.ndarray, keys: np.ndarray, threshold: float) -> np.ndarray:
    """Plain numpy: argmax over [threshold, CAMs] at every pixel, counted in a loop."""
    result = np.zeros((CLASSES + 1, CLASSES + 1), np.int64)
    ids = [0, *(int(key) + 1 for key in keys)]
    for y, x in np.ndindex(gt.shape):
        if gt[y, x] != 255:
            scores = np.array([threshold, *(cams[:, y, x] if len(keys) else [])], np.float32)
            result[gt[y, x], ids[int(scores.argmax())]] += 1
    return result


def curve_of(images: list[Sample], thresholds: tuple[float, ...] = THRESHOLDS) -> ThresholdCurve:
    curve = ThresholdCurve(CLASSES, thresholds)
    for image in images:
        curve.add(*image)
    return curve


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([np.float16, np.float32]),
    st.lists(st.integers(0, 1000), min_size=1, max_size=6, unique=True),
)
def test_equals_an_argmax_at_every_threshold(seed: int, dtype: type, steps: list[int]) -> None:
    thresholds = tuple(step / 1000 for step in sorted(steps))
    images = random_images(seed, 3, dtype, thresholds)
    curve = curve_of(images, thresholds)
    total = curve.total()
    for index, threshold in enumerate(thresholds):
        expected = np.stack([argmax_confusion(*image, threshold) for image in images])
        confusions = curve.confusions(index)
        assert confusions.dtype == np.int32
        np.testing.assert_array_equal(confusions, expected)
        np.testing.assert_array_equal(total[index], expected.sum(0))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_equals_the_masks_at_the_default_thresholds(dtype: type) -> None:
    images = random_images(3, 12, dtype)
    curve = curve_of(images)
    scores = curve.miou()
    for index in range(len(THRESHOLDS)):
        conf = sum(
            confusion(gt, threshold_mask(cams, keys, THRESHOLDS[index]), CLASSES) for gt, cams, keys in images
        )
        np.testing.assert_array_equal(curve.total()[index], conf)
        assert scores[index] == miou(conf)
    best, threshold, value = curve.best()
    assert value == scores.max()
    assert threshold == THRESHOLDS[best]
    assert best == list(scores).index(scores.max())


def test_half_precision_values_on_a_threshold_are_compared_exactly() -> None:
    # 0.25 and 0.5 are exact in float16; 0.15 and 0.16 aren't, and their nearest halves lie above them.
    values = np.array([[[0.25, 0.5, 0.15, 0.16]]], np.float16)
    gt = np.ones((1, 4), np.uint8)
    curve = ThresholdCurve(1)
    curve.add(gt, values, [0])
    found = [int(curve.confusions(index)[0, 1, 1]) for index in (14, 15, 16, 25, 50)]
    assert found == [4, 4, 3, 1, 0]


def test_images_without_classes_are_background_everywhere() -> None:
    curve = ThresholdCurve(2)
    curve.add(np.array([[0, 1, 255]], np.uint8), np.zeros((0, 0, 0), np.float16), [])
    curve.add(np.array([[255, 255]], np.uint8), np.ones((1, 1, 2), np.float16), [1])
    assert len(curve) == 2
    for index in (0, 59):
        assert curve.confusions(index)[0].tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 0]]
        assert not curve.confusions(index)[1].any()


def test_workers_curves_merge() -> None:
    images = random_images(11, 9, np.float16)
    merged = curve_of(images[:4])
    merged.merge(copy.deepcopy(curve_of(images[4:])))
    whole = curve_of(images)
    np.testing.assert_array_equal(merged.total(), whole.total())
    np.testing.assert_array_equal(merged.confusions(20), whole.confusions(20))
    with pytest.raises(ConfigError, match="can't be merged"):
        whole.merge(ThresholdCurve(CLASSES, (0.1, 0.2)))


def test_empty_curve_has_no_best() -> None:
    curve = ThresholdCurve(3)
    assert curve.confusions(0).shape == (0, 4, 4)
    assert np.isnan(curve.miou()).all()
    index, threshold, value = curve.best()
    assert (index, threshold) == (0, 0.0)
    assert np.isnan(value)


@pytest.mark.parametrize("thresholds", [(), (0.2, 0.1), (0.1, 0.1), (-0.1, 0.1), (0.1, float("nan"))])
def test_refuses_bad_thresholds(thresholds: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="strictly ascending"):
        ThresholdCurve(3, thresholds)


def test_refuses_what_does_not_fit() -> None:
    curve = ThresholdCurve(2)
    gt, cams = np.zeros((2, 3), np.uint8), np.zeros((1, 2, 3), np.float16)
    with pytest.raises(DataError, match="like the mask"):
        curve.add(gt[:1], cams, [0])
    with pytest.raises(DataError, match="one for each of 2 classes"):
        curve.add(gt, cams, [0, 1])
    with pytest.raises(DataError, match=r"classes are \[2\]"):
        curve.add(gt, cams, [2])
    with pytest.raises(DataError, match="twice"):
        curve.add(gt, np.repeat(cams, 2, 0), [1, 1])
    with pytest.raises(DataError, match="true ids reach 3"):
        curve.add(gt + 3, cams, [0])
    assert len(curve) == 0
    assert not curve.total().any()


def test_real_masks_at_full_size(voc_root: Path) -> None:
    random = np.random.default_rng(0)
    paths = sorted((voc_root / "SegmentationClass").glob("*.png"))[:3]
    curve = ThresholdCurve(20)
    images = []
    for path in paths:
        gt = read_mask(path)
        keys = np.setdiff1d(gt, [0, 255]) - 1
        truth = gt[None] == keys[:, None, None] + 1
        cams = (0.6 * truth * random.random(truth.shape) + 0.3 * random.random(truth.shape)).astype(
            np.float16
        )
        curve.add(gt, cams, keys)
        images.append((gt, cams, keys))
    for index in (0, 15, 37, 59):
        for conf, (gt, cams, keys) in zip(curve.confusions(index), images, strict=True):
            np.testing.assert_array_equal(conf, confusion(gt, threshold_mask(cams, keys, index / 100), 20))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_marginals_are_those_of_the_confusions_at_every_threshold(dtype: type) -> None:
    images = random_images(5, 8, dtype)
    curve = curve_of(images)
    hits, predicted = curve.marginals()
    for index in range(len(THRESHOLDS)):
        confusions = curve.confusions(index)
        np.testing.assert_array_equal(hits[:, index], np.diagonal(confusions, axis1=1, axis2=2))
        np.testing.assert_array_equal(predicted[:, index], confusions.sum(1))
    assert all(part.shape[1] == 7 for part in curve.marginals(7))


def test_the_best_of_the_first_thresholds_is_looked_for_among_these() -> None:
    gt = np.array([[1, 0]], np.uint8)
    curve = ThresholdCurve(1, (0.1, 0.2, 0.9))
    curve.add(gt, np.array([[[0.95, 0.5]]], np.float32), [0])
    assert curve.best() == (2, 0.9, 1.0)
    assert curve.best(2)[0] == 0
