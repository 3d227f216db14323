"""How sure a score is: bootstrap intervals over images (Efron and Tibshirani, 1993)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from wsss.errors import ConfigError, DataError
from wsss.metrics.confusion import iou_from_counts, marginals, mean_present, miou

BLOCK = 200
"""Resamples drawn at a time: bounds memory at BLOCK × images × 8 bytes."""


def bootstrap_interval(
    confusions: npt.NDArray[Any], *, seed: int, samples: int = 1000, level: float = 0.95
) -> tuple[float, float]:
    """Return the (low, high) percentile interval of the mIoU, resampling whole images.

    Raises `DataError` without images.

    Args:
        confusions: int[N, C + 1, C + 1], one matrix per image.
        seed: of the draws; the same seed draws the same images.
        samples: how many resamples, at least 1.
        level: the share of resamples inside the interval, in (0, 1).

    Examples:
        >>> random = np.random.default_rng(0)
        >>> confusions = random.integers(1, 9, size=(50, 2, 2))
        >>> low, high = bootstrap_interval(confusions, seed=0)
        >>> round(low, 3), round(miou(confusions.sum(0)), 3), round(high, 3)
        (0.309, 0.336, 0.366)
    """
    _check(confusions, samples, level)
    return _interval(bootstrap_mious(confusions, seed=seed, samples=samples), level)


def paired_difference(
    conf_a: npt.NDArray[Any],
    conf_b: npt.NDArray[Any],
    *,
    seed: int,
    samples: int = 1000,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """Return (mIoU of a − mIoU of b, low, high), drawing the same images for both.

    What makes some images harder than others cancels out, so the interval is narrower than that of two
    independent scores. Raises `DataError` without images and for matrices of different shapes.

    Args:
        conf_a: int[N, C + 1, C + 1], one matrix per image.
        conf_b: those of the same images in the same order.
        seed: of the draws.
        samples: how many resamples, at least 1.
        level: the share of resamples inside the interval, in (0, 1).

    Examples:
        Masks that are right on one more pixel of every image:

        >>> worse = np.random.default_rng(0).integers(1, 9, size=(50, 2, 2))
        >>> better = worse + [[1, -1], [0, 0]]
        >>> [round(value, 3) for value in paired_difference(better, worse, seed=0)]
        [0.048, 0.044, 0.053]
    """
    _check(conf_a, samples, level)
    if conf_a.shape != conf_b.shape:
        raise DataError(f"confusions are {list(conf_b.shape)}, but must be {list(conf_a.shape)} to be paired")
    difference = bootstrap_mious(conf_a, seed=seed, samples=samples) - bootstrap_mious(
        conf_b, seed=seed, samples=samples
    )
    return miou(conf_a.sum(0)) - miou(conf_b.sum(0)), *_interval(difference, level)


def _check(confusions: npt.NDArray[Any], samples: int, level: float) -> None:
    if confusions.ndim != 3 or not len(confusions):
        raise DataError(f"confusions are {list(confusions.shape)}, but must be [images, ids, ids], not empty")
    if samples < 1:
        raise ConfigError(f"`samples` is {samples}, but must be at least 1")
    if not 0 < level < 1:
        raise ConfigError(f"`level` is {level}, but must be in (0, 1)")


def bootstrap_mious(confusions: npt.NDArray[Any], *, seed: int, samples: int) -> npt.NDArray[np.float64]:
    """Return float64[samples], the mIoU of each resample; the same draws for the same seed and N.

    Args:
        confusions: int[N, C + 1, C + 1], one matrix per image.
        seed: of the draws.
        samples: how many resamples.
    """
    return bootstrap_of_marginals(*marginals(confusions), seed=seed, samples=samples)


def bootstrap_of_marginals(
    hits: npt.NDArray[Any],
    true: npt.NDArray[Any],
    predicted: npt.NDArray[Any],
    *,
    seed: int,
    samples: int,
) -> npt.NDArray[np.float64]:
    """Return float64[samples], the mIoU of each resample, from what scores need of confusion matrices.

    Args:
        hits: int[N, C + 1], pixels of each image on which both sides agree.
        true: int[N, C + 1], pixels that have the id.
        predicted: int[N, C + 1], pixels that were given the id.
        seed: of the draws.
        samples: how many resamples.
    """
    # Counts below 2^53 are exact in float64, so a matrix product counts without error.
    hits, true, predicted = (part.astype(np.float64) for part in (hits, true, predicted))
    scores = [
        mean_present(iou_from_counts(weights @ hits, weights @ true, weights @ predicted))
        for weights in _draws(len(hits), seed, samples)
    ]
    return np.concatenate(scores)


def _draws(images: int, seed: int, samples: int) -> Iterator[npt.NDArray[np.float64]]:
    """Yield blocks of float64[≤ BLOCK, images]: how often each image is drawn in each resample."""
    random = np.random.default_rng(seed)
    for start in range(0, samples, BLOCK):
        rows = min(BLOCK, samples - start)
        drawn = random.integers(images, size=(rows, images)) + images * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * images).reshape(rows, images).astype(np.float64)


def _interval(values: npt.NDArray[np.float64], level: float) -> tuple[float, float]:
    if np.isnan(values).all():
        return float("nan"), float("nan")
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
