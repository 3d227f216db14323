"""Measures the one-pass threshold curve against an argmax per threshold, side by side.

python benchmarks/threshold_curve.py [--images 20] [--repeats 5]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from wsss.metrics import THRESHOLDS, ThresholdCurve

CLASSES = 20
HEIGHT, WIDTH = 375, 500
Image = tuple[np.ndarray, np.ndarray, np.ndarray]


def make_images(count: int, dtype: type) -> list[Image]:
    """Return smooth random maps of one to three classes, and masks that follow them."""
    random = np.random.default_rng(0)
    images = []
    for number in range(count):
        keys = np.sort(random.choice(CLASSES, 1 + number % 3, replace=False))
        coarse = random.random((len(keys), HEIGHT // 25, WIDTH // 25))
        cams = np.kron(coarse, np.ones((25, 25))) * random.uniform(0.7, 1, (len(keys), HEIGHT, WIDTH))
        gt = np.where(cams.max(0) > 0.5, keys[cams.argmax(0)] + 1, 0).astype(np.uint8)
        gt[random.random(gt.shape) < 0.05] = 255
        images.append((gt, cams.astype(dtype), keys))
    return images


def plain(images: list[Image]) -> np.ndarray:
    """Return int64[T, C + 1, C + 1] by an argmax over [threshold, CAMs] for every threshold."""
    total = np.zeros((len(THRESHOLDS), CLASSES + 1, CLASSES + 1), np.int64)
    for gt, cams, keys in images:
        ids = np.concatenate([[0], keys + 1])
        scores = np.concatenate([np.zeros((1, *gt.shape), np.float32), cams.astype(np.float32)])
        counted = gt != 255
        true = gt[counted].astype(np.int64) * (CLASSES + 1)
        for index, threshold in enumerate(THRESHOLDS):
            scores[0] = threshold
            predicted = ids[scores.argmax(0)]
            counts = np.bincount(true + predicted[counted], minlength=(CLASSES + 1) ** 2)
            total[index] += counts.reshape(CLASSES + 1, CLASSES + 1)
    return total


def one_pass(images: list[Image]) -> np.ndarray:
    """Return the same from one look at every image."""
    curve = ThresholdCurve(CLASSES)
    for image in images:
        curve.add(*image)
    return curve.total()


def timed(function: Callable[[list[Image]], np.ndarray], images: list[Image]) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    result = function(images)
    return time.perf_counter() - start, result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    same = True
    for dtype in (np.float16, np.float32):
        images = make_images(arguments.images, dtype)
        slow, fast = [], []
        for _ in range(arguments.repeats):
            seconds, expected = timed(plain, images)
            slow.append(seconds)
            seconds, result = timed(one_pass, images)
            fast.append(seconds)
            same &= np.array_equal(expected, result)
        a, b = statistics.median(slow), statistics.median(fast)
        print(
            f"{dtype.__name__}: {len(THRESHOLDS)} thresholds, {len(images)} images {HEIGHT}x{WIDTH}: "
            f"argmax per threshold {a:.3f} s, one pass {b:.3f} s, ratio {a / b:.0f}"
        )
    print("confusion matrices are equal" if same else "CONFUSION MATRICES DIFFER")
    return 0 if same else 1


if __name__ == "__main__":
    raise SystemExit(main())
