"""The best of k of n configurations: against going through all subsets, and by how often the truth is
covered."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from wsss.errors import ConfigError
from wsss.metrics import best_of, best_of_draws, best_of_weights
from wsss.metrics.best_of import _jackknife, appears_only_with_more, budgets

SHARES = st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5])


def by_hand(select: list[float], report: list[float], k: int) -> float:
    """Try every subset of k configurations, and take what the best of each reports."""
    found = []
    for subset in itertools.combinations(range(len(select)), k):
        best = subset[0]
        for number in subset[1:]:
            if select[number] > select[best]:
                best = number
        found.append(report[best])
    return sum(found) / len(found)


@given(st.lists(st.tuples(SHARES, SHARES), min_size=1, max_size=9))
def test_it_is_the_mean_over_all_subsets_ties_included(scores: list[tuple[float, float]]) -> None:
    select, report = ([pair[part] for pair in scores] for part in (0, 1))
    draws = np.asarray(report)[:, None] + [0.0, 0.01]
    for k in range(1, len(scores) + 1):
        found = best_of(select, report, draws, k, drawn=True)
        assert found is not None
        assert found.score == pytest.approx(by_hand(select, report, k))
        assert best_of_draws(select, draws, k) == pytest.approx(found.score + np.array([0.0, 0.01]))
        assert sum(best_of_weights(select, k)) == pytest.approx(1)


def test_select_chooses_and_report_is_reported() -> None:
    """The best by `select` may report less: more tuning can cost."""
    found = [best_of([0.1, 0.2], [0.9, 0.5], np.array([[0.9], [0.5]]), k, drawn=False) for k in (1, 2)]
    assert [one.score for one in found if one] == [pytest.approx(0.7), pytest.approx(0.5)]


def test_what_was_stopped_counts_as_tried_and_is_never_the_best() -> None:
    select, report = [0.5, np.nan, 0.7], [0.4, np.nan, 0.6]
    draws = np.array([[0.4], [np.nan], [0.6]])
    assert best_of(select, report, draws, 1, drawn=False) is None, "the one that is tried may have no score"
    both = best_of(select, report, draws, 2, drawn=False)
    assert both is not None
    assert both.score == pytest.approx((0.4 + 0.6 + 0.6) / 3)
    assert both.other_low is None


def test_the_best_of_more_than_were_tried_is_unknown() -> None:
    with pytest.raises(ConfigError, match=r"`k` is 3, but must be in \[1, 2\]"):
        best_of_weights([0.1, 0.2], 3)


@pytest.mark.parametrize(
    ("tried", "expected"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (16, [1, 2, 4, 8, 16])]
)
def test_a_table_shows_powers_of_two_and_all(tried: int, expected: list[int]) -> None:
    assert budgets(tried) == expected


@pytest.mark.parametrize(
    ("more", "equal", "only"),
    [
        ((0.01, 0.03), (-0.01, 0.02), True),
        ((0.01, 0.03), (0.005, 0.02), False),
        ((-0.01, 0.03), (0.005, 0.02), False),
        ((0.01, 0.03), (-0.04, -0.02), True),
        ((-0.03, -0.01), (-0.02, 0.01), True),
    ],
)
def test_a_difference_may_appear_only_with_more_tuning(
    more: tuple[float, float], equal: tuple[float, float], only: bool
) -> None:
    assert appears_only_with_more(more, equal) is only


NOISE = 0.3 * stats.norm.ppf((np.arange(200) + 0.5) / 200)
"""What resampled images add: the same to all configurations."""
SHAPES = {
    "normal": lambda x: x,
    "bounded": stats.norm.cdf,
    "crowded below a bound": lambda x: -np.exp(-0.7 * x),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("count", "k"), [(8, 2), (16, 1), (16, 8), (30, 10)])
def test_the_interval_for_other_configurations_covers_the_truth(shape: str, count: int, k: int) -> None:
    """Configurations are drawn, `select` agrees with `report` (0.8), images are drawn too."""
    random = np.random.default_rng(count + k)
    spread = SHAPES[shape]

    def drawn(*size: int) -> tuple[np.ndarray, np.ndarray]:
        select, own = random.normal(size=(2, *size))
        return select, spread(0.8 * select + 0.6 * own)

    select, report = drawn(200_000 // k, k)
    truth = np.take_along_axis(report, select.argmax(1)[:, None], 1).mean()
    covered = []
    for _ in range(1000):
        select, report = drawn(count)
        report = report + random.normal(0, 0.3)
        found = best_of(select, report, report[:, None] + NOISE, k, drawn=True)
        assert found is not None
        assert found.other_low is not None
        assert found.other_high is not None
        covered.append(found.other_low <= truth <= found.other_high)
    assert 0.93 <= np.mean(covered) <= 0.975


def test_its_variance_over_configurations_is_the_jackknife() -> None:
    random = np.random.default_rng(0)
    select, report = random.random((2, 9))
    for k in range(1, 5):
        without = [
            by_hand(np.delete(select, n).tolist(), np.delete(report, n).tolist(), k)
            for n in range(len(select))
        ]
        assert _jackknife(select, report, k) == pytest.approx(8 * np.var(without))


def test_the_interval_for_these_configurations_covers_their_truth() -> None:
    """An image's score of each configuration is drawn; scores are means over images. All k, up to all of
    them."""
    random = np.random.default_rng(0)
    truth, select = np.linspace(0.3, 0.5, 6), random.permutation(6) / 10
    covered = np.zeros(6)
    for _ in range(400):
        images = truth[:, None] + random.normal(0, 0.1, (1, 80)) + random.normal(0, 0.05, (6, 80))
        places = random.integers(80, size=(300, 80))
        draws = images[:, places].mean(2)
        for k in range(1, 7):
            found = best_of(select, images.mean(1), draws, k, drawn=True)
            assert found is not None
            covered[k - 1] += found.low <= by_hand(select.tolist(), truth.tolist(), k) <= found.high
    assert (covered / 400 >= 0.92).all()
    assert (covered / 400 <= 0.975).all()


def test_no_interval_for_other_configurations_where_the_best_of_all_was_seen_once() -> None:
    scores = np.linspace(0, 1, 8)
    draws = scores[:, None] + NOISE
    known = [best_of(scores, scores, draws, k, drawn=True) for k in range(1, 9)]
    assert [one is not None and one.other_low is not None for one in known] == [True] * 4 + [False] * 4
    grid = best_of(scores, scores, draws, 2, drawn=False)
    assert grid is not None
    assert grid.other_low is None, "a grid's configurations are no draws"
