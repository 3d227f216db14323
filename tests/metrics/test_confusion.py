from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score

from wsss.errors import DataError
from wsss.metrics import (
    confusion,
    foreground_precision,
    foreground_recall,
    fp_fn_ratio,
    iou,
    miou,
    pixel_accuracy,
    summary,
)

GT = np.array([[0, 0, 1], [1, 255, 2]], np.uint8)
PRED = np.array([[0, 1, 1], [1, 2, 0]], np.uint8)


def test_small_example_by_hand() -> None:
    conf = confusion(GT, PRED, 2)
    assert conf.dtype == np.int64
    assert conf.tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 0]]
    np.testing.assert_allclose(iou(conf), [1 / 3, 2 / 3, 0])
    assert miou(conf) == pytest.approx(1 / 3)
    assert pixel_accuracy(conf) == pytest.approx(3 / 5)
    assert foreground_precision(conf) == pytest.approx(2 / 3)
    assert foreground_recall(conf) == pytest.approx(2 / 3)
    assert fp_fn_ratio(conf) == pytest.approx(1)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_agrees_with_scikit_learn(seed: int, classes: int) -> None:
    random = np.random.default_rng(seed)
    gt = random.choice([*range(classes + 1), 255], (9, 11)).astype(np.uint8)
    pred = random.integers(0, classes + 1, (9, 11)).astype(np.uint8)
    counted = gt != 255
    labels = list(range(classes + 1))
    conf = confusion(gt, pred, classes)
    np.testing.assert_array_equal(conf, confusion_matrix(gt[counted], pred[counted], labels=labels))
    occur = sorted({*gt[counted].tolist(), *pred[counted].tolist()})
    expected = jaccard_score(gt[counted], pred[counted], labels=occur, average=None, zero_division=0)
    np.testing.assert_allclose(iou(conf)[occur], expected)
    assert np.isnan(np.delete(iou(conf), occur)).all()
    assert miou(conf) == pytest.approx(expected.mean())
    assert pixel_accuracy(conf) == pytest.approx(accuracy_score(gt[counted], pred[counted]))


def test_perfect_prediction_scores_one() -> None:
    gt = np.array([[0, 1, 3, 255]], np.uint8)
    conf = confusion(gt, np.where(gt == 255, 2, gt), 5)
    assert miou(conf) == 1
    assert np.isnan(iou(conf)[[2, 4, 5]]).all()


def test_ignored_pixels_change_nothing() -> None:
    more_gt = np.vstack([GT, np.full((2, 3), 255, np.uint8)])
    more_pred = np.vstack([PRED, [[0, 1, 2], [255, 77, 1]]]).astype(np.uint8)
    np.testing.assert_array_equal(confusion(more_gt, more_pred, 2), confusion(GT, PRED, 2))


def test_counts_are_summed_before_dividing() -> None:
    random = np.random.default_rng(0)
    pairs = [random.integers(0, 4, (2, 8, 8)).astype(np.uint8) for _ in range(5)]
    parts = [confusion(gt, pred, 3) for gt, pred in pairs]
    whole = confusion(np.vstack([p[0] for p in pairs]), np.vstack([p[1] for p in pairs]), 3)
    assert miou(np.sum(parts, axis=0)) == miou(np.sum(parts[::-1], axis=0)) == miou(whole)
    np.testing.assert_array_equal(iou(np.stack(parts))[2], iou(parts[2]))


def test_precision_recall_and_ratio_by_hand() -> None:
    conf = np.array([[50, 6, 4], [10, 20, 1], [3, 2, 4]])
    assert foreground_precision(conf) == pytest.approx(24 / 37)
    assert foreground_recall(conf) == pytest.approx(24 / 40)
    assert fp_fn_ratio(conf) == pytest.approx(13 / 16)


def test_summary_is_json() -> None:
    conf = confusion(GT, np.where(PRED == 2, 0, PRED), 3)
    result = json.loads(json.dumps(summary(conf, ["cat", "dog", "sheep"]), allow_nan=False))
    assert result["iou"] == pytest.approx({"background": 1 / 3, "cat": 2 / 3, "dog": 0, "sheep": None})
    assert result["miou"] == pytest.approx(1 / 3)
    assert result["pixels"] == 5
    assert {"pixel_accuracy", "precision", "recall", "fp_fn_ratio"} <= result.keys()


def test_summary_of_nothing_is_undefined() -> None:
    result = summary(np.zeros((3, 3), np.int64), ["cat", "dog"])
    assert result.pop("pixels") == 0
    assert result.pop("iou") == {"background": None, "cat": None, "dog": None}
    assert set(result.values()) == {None}
    assert math.isnan(miou(np.zeros((3, 3))))


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(DataError, match="like its mask"):
        confusion(GT, PRED[:1], 2)
    with pytest.raises(DataError, match="true ids reach 2"):
        confusion(GT, np.minimum(PRED, 1), 1)
    with pytest.raises(DataError, match="predicted ids 255"):
        confusion(GT, np.full_like(GT, 255), 2)
    with pytest.raises(DataError, match=r"reach from -1"):
        confusion(GT, PRED.astype(int) - 1, 2)
    with pytest.raises(DataError, match="confusion is"):
        summary(np.zeros((3, 3)), ["cat"])
