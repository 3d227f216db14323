"""Choosing with few masks: against going through all ways to draw them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from wsss.errors import DataError
from wsss.metrics import choose_with, miou
from wsss.metrics.few_masks import ThresholdCounts

CLASSES, THRESHOLDS = 2, 3


def confusions(random: np.random.Generator, images: int, thresholds: int) -> np.ndarray:
    """Return int[T, N, C + 1, C + 1] whose rows, which are the masks, do not depend on the threshold."""
    true = random.integers(5, 40, size=(images, CLASSES + 1))
    result = np.zeros((thresholds, images, CLASSES + 1, CLASSES + 1), int)
    for index in np.ndindex(thresholds, images, CLASSES + 1):
        shares = random.dirichlet(np.ones(CLASSES + 1))
        result[index] = random.multinomial(true[index[1:]], shares)
    return result


def counts_of(confusion: np.ndarray) -> ThresholdCounts:
    hits = np.diagonal(confusion, axis1=-2, axis2=-1).swapaxes(0, 1)
    return ThresholdCounts(hits, confusion.sum(-2).swapaxes(0, 1), confusion[0].sum(-1))


@pytest.mark.parametrize("masks", [1, 2, 5])
@pytest.mark.parametrize("thresholds", [1, THRESHOLDS])
def test_it_is_the_mean_over_all_ways_to_draw(masks: int, thresholds: int) -> None:
    random = np.random.default_rng(masks)
    present = np.array([[1, 0], [1, 1], [0, 1], [1, 0], [0, 1]], bool)
    select = [[confusions(random, 5, thresholds) for _ in range(2)] for _ in range(3)]
    report = [[random.random(thresholds) for _ in range(2)] for _ in range(3)]
    found = choose_with(masks, present, [[counts_of(one) for one in seeds] for seeds in select], report)

    reported = []
    first, second = ([n for n in range(5) if present[n, c]] for c in range(2))
    for a in itertools.combinations(first, min(masks, 3)):
        for b in itertools.combinations(second, min(masks, 3)):
            images = sorted({*a, *b})
            best = (-1.0, 0.0)
            for seeds, scores in zip(select, report, strict=True):
                curves = [[miou(one[t][images].sum(0)) for t in range(thresholds)] for one in seeds]
                at = [curve.index(max(curve)) for curve in curves]
                score = sum(max(curve) for curve in curves) / 2
                if score > best[0] + 1e-12:
                    best = score, sum(values[t] for values, t in zip(scores, at, strict=True)) / 2
            reported.append(best[1])
    assert found.exact
    assert sorted(found.reported) == pytest.approx(sorted(reported))
    expected = sum(share * report[c][s][t] for (c, s, t), share in found.shares.items())
    assert expected == pytest.approx(np.mean(reported))
    assert sum(found.shares.values()) == pytest.approx(1)


def test_many_ways_are_drawn_and_agree_with_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    present = np.eye(2, dtype=bool)[np.arange(14) % 2]
    select = [[counts_of(confusions(random, 14, THRESHOLDS))] for _ in range(4)]
    report = [[random.random(THRESHOLDS)] for _ in range(4)]
    drawn = choose_with(3, present, select, report)
    again = choose_with(3, present, select, report)
    assert not drawn.exact
    assert drawn.reported.tolist() == again.reported.tolist(), "the same draws every time"
    monkeypatch.setattr("wsss.metrics.few_masks.MOST_CHOICES", 35 * 35)
    whole = choose_with(3, present, select, report)
    assert whole.exact
    assert drawn.reported.mean() == pytest.approx(
        whole.reported.mean(), abs=4 * whole.reported.std() / 1000**0.5
    )


def test_with_all_masks_it_chooses_what_all_masks_choose() -> None:
    random = np.random.default_rng(2)
    present = np.ones((4, 2), bool)
    select = [confusions(random, 4, THRESHOLDS) for _ in range(3)]
    scores = [[miou(one[t].sum(0)) for t in range(THRESHOLDS)] for one in select]
    winner = max(range(3), key=lambda c: max(scores[c]))
    found = choose_with(99, present, [[counts_of(one)] for one in select], [[np.zeros(THRESHOLDS)]] * 3)
    assert found.shares == {(winner, 0, int(np.argmax(scores[winner]))): 1.0}
    assert found.images == 4


def test_without_a_class_there_is_nothing_to_draw() -> None:
    with pytest.raises(DataError, match="nothing to draw from"):
        choose_with(1, np.zeros((3, 2), bool), [], [])
