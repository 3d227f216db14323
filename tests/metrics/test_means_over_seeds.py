"""Means over seeds: against scipy where it has the same case, and by how often the truth is covered."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from wsss.metrics import estimate, holm
from wsss.metrics.student import normal_quantile, t_quantile, t_tail


def shifts(values: np.ndarray, spread: float, count: int = 2000, seed: int = 0) -> np.ndarray:
    """Resamples that shift every seed alike, as resampled images do."""
    shift = np.random.default_rng(seed).normal(0, spread, count)
    return values[:, None] + shift


def test_without_doubt_about_images_it_is_students_t() -> None:
    values = np.array([0.51, 0.55, 0.48, 0.53])
    low, high, p = estimate(values, shifts(values, 0.0))
    reference = stats.ttest_1samp(values, 0)
    interval = reference.confidence_interval(0.95)
    assert (low, high) == (pytest.approx(interval.low), pytest.approx(interval.high))
    assert p == pytest.approx(reference.pvalue)


def test_one_seed_has_the_percentiles_of_its_resamples() -> None:
    values = np.array([0.5])
    draws = shifts(values, 0.1)
    low, high, p = estimate(values, draws)
    assert (low, high) == tuple(np.quantile(draws[0], [0.025, 0.975]))
    assert p == pytest.approx(2 * stats.norm.sf(0.5 / draws.std()))


def test_equal_seeds_leave_the_doubt_about_images() -> None:
    values = np.full(5, 0.5)
    draws = shifts(values, 0.1)
    low, high, _ = estimate(values, draws)
    assert (high - low) / 2 == pytest.approx(1.96 * draws[0].std(), rel=1e-3)
    assert (low + high) / 2 == pytest.approx(0.5)


def test_no_doubt_at_all_is_a_point() -> None:
    assert estimate(np.array([0.25, 0.25]), np.full((2, 10), 0.25)) == (0.25, 0.25, 0.0)
    assert estimate(np.array([0.0, 0.0]), np.zeros((2, 10)))[2] == 1.0


def test_resamples_without_a_score_are_left_out() -> None:
    values = np.array([0.5, 0.6])
    draws = shifts(values, 0.1)
    holes = draws.copy()
    holes[:, ::7] = np.nan
    assert np.isfinite(estimate(values, holes)).all()
    assert np.isnan(estimate(values, np.full((2, 5), np.nan))).all()


@pytest.mark.parametrize("seeds", [3, 4, 5, 10])
@pytest.mark.parametrize("images", [0.1, 0.3, 0.6, 1.0, 3.0])
def test_an_interval_of_95_per_cent_covers_the_truth_as_often(seeds: int, images: float) -> None:
    """Spread over seeds 1, over images `images`; the truth is 0. The images' spread is known from resampling.

    Mean and variance of normal seeds are independent: how often an interval covers is worked out for each
    of many variances, by their distribution, instead of drawn.
    """
    noise = stats.norm(0, images).ppf((np.arange(2000) + 0.5) / 2000)
    pattern = stats.zscore(np.arange(seeds), ddof=1)
    mean = stats.norm(0, np.hypot(images, seeds**-0.5))
    covered = []
    for variance in stats.chi2(seeds - 1).ppf((np.arange(150) + 0.5) / 150) / (seeds - 1):
        values = pattern * np.sqrt(variance)
        low, high, _ = estimate(values, values[:, None] + noise)
        covered.append(mean.cdf(high) - mean.cdf(low))
    assert 0.945 <= np.mean(covered) <= 0.967


@pytest.mark.parametrize("seeds", [3, 10])
def test_coverage_of_drawn_experiments_and_their_p(seeds: int) -> None:
    random = np.random.default_rng(seeds)
    noise = stats.norm.ppf((np.arange(400) + 0.5) / 400)
    covered = 0
    for _ in range(1000):
        values = random.normal() + random.normal(0, 1, seeds)
        low, high, p = estimate(values, values[:, None] + noise)
        covered += low <= 0 <= high
        assert (p >= 0.05) == (low <= 0 <= high)
    assert 0.93 <= covered / 1000 <= 0.97


@pytest.mark.parametrize(
    ("values", "adjusted"),
    [
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.5], [0.5]),
        ([0.6, 0.9, 0.7], [1.0, 1.0, 1.0]),
        ([0.001, 0.001], [0.002, 0.002]),
        ([], []),
    ],
)
def test_holms_correction_worked_out_by_hand(values: list[float], adjusted: list[float]) -> None:
    assert holm(values) == pytest.approx(adjusted)


def test_holm_keeps_false_alarms_of_a_whole_family_at_5_per_cent() -> None:
    random = np.random.default_rng(0)
    alarms = np.mean([min(holm(random.random(6).tolist())) < 0.05 for _ in range(4000)])
    assert 0.035 < alarms < 0.065


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 30])
def test_students_tail_and_quantile_are_scipys(freedom: int) -> None:
    for x in (0.0, 0.4, 1.0, 2.5, 12.0, 300.0):
        assert t_tail(x, freedom) == pytest.approx(stats.t.sf(x, freedom), rel=1e-9, abs=1e-15)
    for tail in (0.5, 0.3, 0.025, 1e-4, 1e-8):
        assert t_quantile(tail, freedom) == pytest.approx(stats.t.isf(tail, freedom), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("tail", [0.5, 0.1, 0.025, 1e-6, 5e-13])
def test_normal_quantiles_are_scipys(tail: float) -> None:
    assert normal_quantile(tail) == pytest.approx(stats.norm.isf(tail), rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("count", [2, 3, 6])
def test_p_is_where_the_interval_ends_at_nothing(count: int) -> None:
    """Of several seeds and of images that both vary: at level 1 − p a bound of the interval is 0."""
    rng = np.random.default_rng(count)
    values = rng.normal(1.5, 1.0, count)
    draws = shifts(values, 0.3)
    _, _, p = estimate(values, draws)
    low, high, _ = estimate(values, draws, level=1 - p)
    assert 0 < p < 1 and min(abs(low), abs(high)) == pytest.approx(0, abs=1e-6)
