"""What choosing with few masks would have reported, from what was counted with many."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wsss.errors import DataError
from wsss.metrics.confusion import iou_from_counts, mean_present

Ints = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float64]
MOST_CHOICES = 1000
"""Ways to choose masks up to which all are gone through; beyond, as many are drawn."""


@dataclass(frozen=True)
class ThresholdCounts:
    """Pixels of one seed of one configuration, by image and threshold. What has no threshold has T = 1.

    Args:
        hits: int[N, T, C + 1], rightly predicted pixels of each id.
        predicted: int[N, T, C + 1], predicted ones.
        true: int[N, C + 1], those that masks have.
    """

    hits: Ints
    predicted: Ints
    true: Ints

    def mious(self, weights: Floats) -> Floats:
        """Return float64[D, T]: mIoU at every threshold with images weighted by float[D, N]."""
        images = len(self.true)
        hits, predicted = (
            (weights @ part.reshape(images, -1).astype(np.float64)).reshape(len(weights), *part.shape[1:])
            for part in (self.hits, self.predicted)
        )
        true = (weights @ self.true.astype(np.float64))[:, None]
        return mean_present(iou_from_counts(hits, np.broadcast_to(true, hits.shape), predicted))


@dataclass(frozen=True)
class Chosen:
    """What choosing with `masks` masks of each class comes to.

    `shares` maps (configuration, seed's number, threshold's number) to the share of draws that choose it,
    divided by the seeds: the expected report score is the sum of shares times report scores. `reported` are
    the report scores of single draws, `images` the number of images drawn, on average; `exact` says that all
    draws were gone through.
    """

    masks: int
    shares: dict[tuple[int, int, int], float]
    reported: Floats
    images: float
    exact: bool


def choose_with(
    masks: int,
    present: npt.NDArray[np.bool_],
    select: Sequence[Sequence[ThresholdCounts]],
    report: Sequence[Sequence[Floats]],
    *,
    seed: int = 0,
) -> Chosen:
    """Choose threshold and configuration with `masks` of the masks that show each class, in all possible
    draws, or in 1000 drawn ones where there are more.

    A draw takes `masks` images of each class (all that there are, if fewer), without replacement and each
    class by itself; an image that two classes have drawn counts once. Thresholds are chosen for each seed,
    then the configuration by the mean over its seeds; ties go to the lower. Raises `DataError` when no image
    shows a class.

    Args:
        masks: of each class, at least 1.
        present: bool[N, C], which classes the mask of each `select` image shows.
        select: counts on the `select` images, of each configuration and seed.
        report: float64[T], report scores at each threshold, of each configuration and seed.
        seed: of the draws.
    """
    if not present.any():
        raise DataError("no `select` image shows a class: there is nothing to draw from")
    drawn, exact = _draws(masks, present, seed)
    values: list[list[tuple[Floats, npt.NDArray[np.intp]]]] = []
    for seeds in select:
        found = []
        for counts in seeds:
            curve = np.nan_to_num(counts.mious(drawn), nan=-1.0)
            places = curve.argmax(1)
            found.append((np.take_along_axis(curve, places[:, None], 1)[:, 0], places))
        values.append(found)
    scores = np.stack([np.mean([score for score, _ in seeds], axis=0) for seeds in values])
    winners = scores.argmax(0)
    shares: dict[tuple[int, int, int], float] = {}
    reported = np.zeros(len(drawn))
    for draw, winner in enumerate(winners):
        seeds = values[winner]
        for number, (_, places) in enumerate(seeds):
            key = (int(winner), number, int(places[draw]))
            shares[key] = shares.get(key, 0.0) + 1 / (len(drawn) * len(seeds))
            reported[draw] += report[winner][number][key[2]] / len(seeds)
    return Chosen(masks, shares, reported, float(drawn.sum(1).mean()), exact)


def _draws(masks: int, present: npt.NDArray[np.bool_], seed: int) -> tuple[Floats, bool]:
    """Return float64[D, N], which images each draw has (1 or 0), and whether these are all possible ones."""
    shown = [np.flatnonzero(column) for column in present.T if column.any()]
    ways = math.prod(math.comb(len(images), min(masks, len(images))) for images in shown)
    exact = ways <= MOST_CHOICES
    picks = _all(masks, shown) if exact else _some(masks, shown, seed)
    weights = np.zeros((ways if exact else MOST_CHOICES, len(present)))
    for row, pick in zip(weights, picks, strict=True):
        row[list(itertools.chain.from_iterable(pick))] = 1
    return weights, exact


def _all(masks: int, shown: Sequence[Ints]) -> Iterator[Sequence[Sequence[int]]]:
    return itertools.product(
        *(itertools.combinations(images.tolist(), min(masks, len(images))) for images in shown)
    )


def _some(masks: int, shown: Sequence[Ints], seed: int) -> Iterator[Sequence[Sequence[int]]]:
    random = np.random.default_rng(seed)
    for _ in range(MOST_CHOICES):
        yield [random.choice(images, min(masks, len(images)), replace=False).tolist() for images in shown]
