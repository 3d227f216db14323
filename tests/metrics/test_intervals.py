from __future__ import annotations

import numpy as np
import pytest

from wsss.errors import ConfigError, DataError
from wsss.metrics import bootstrap_interval, miou, paired_difference


def random_confusions(images: int, seed: int = 0, accuracy: float = 0.7) -> np.ndarray:
    """Images that differ in difficulty; each has background and one of three classes."""
    random = np.random.default_rng(seed)
    result = np.zeros((images, 4, 4), np.int32)
    for conf in result:
        kind = random.integers(1, 4)
        share = np.clip(random.normal(accuracy, 0.15), 0, 1)
        conf[kind, kind] = 1000 * share
        conf[kind, 0] = 1000 - conf[kind, kind]
        conf[0, kind] = 500 * (1 - share)
        conf[0, 0] = 3000 - conf[0, kind]
    return result


def naive(confusions: np.ndarray, seed: int, samples: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    picks = random.integers(len(confusions), size=(samples, len(confusions)))
    return np.array([miou(confusions[pick].sum(0)) for pick in picks])


def test_agrees_with_a_loop_over_resamples() -> None:
    confusions = random_confusions(40)
    low, high = bootstrap_interval(confusions, seed=1, samples=4000)
    expected = np.quantile(naive(confusions, 99, 4000), [0.025, 0.975])
    np.testing.assert_allclose([low, high], expected, atol=0.006)
    assert low < miou(confusions.sum(0)) < high


def test_is_decided_by_the_seed_and_not_by_the_order_of_blocks() -> None:
    confusions = random_confusions(30)
    assert bootstrap_interval(confusions, seed=3) == bootstrap_interval(confusions, seed=3)
    assert bootstrap_interval(confusions, seed=3) != bootstrap_interval(confusions, seed=4)


def test_wider_level_gives_a_wider_interval() -> None:
    confusions = random_confusions(30)
    low, high = bootstrap_interval(confusions, seed=0, level=0.95)
    inner_low, inner_high = bootstrap_interval(confusions, seed=0, level=0.5)
    assert low < inner_low < inner_high < high


def test_equal_images_leave_no_doubt() -> None:
    one = random_confusions(1)
    expected = miou(one[0])
    for confusions in (one, np.repeat(one, 7, 0)):
        np.testing.assert_allclose(bootstrap_interval(confusions, seed=0), [expected, expected])


def test_covers_the_true_score_about_as_often_as_it_says() -> None:
    truth = miou(random_confusions(20000, seed=12345).sum(0))
    covered = 0
    for seed in range(60):
        low, high = bootstrap_interval(random_confusions(60, seed), seed=seed, samples=300)
        covered += low <= truth <= high
    assert covered >= 50


def test_pairing_removes_what_images_have_in_common() -> None:
    worse = random_confusions(50)
    better = worse.copy()
    better[:, [1, 2, 3], [1, 2, 3]] += better[:, [1, 2, 3], 0] // 5
    better[:, [1, 2, 3], 0] -= worse[:, [1, 2, 3], 0] // 5
    difference, low, high = paired_difference(better, worse, seed=0)
    assert difference == pytest.approx(miou(better.sum(0)) - miou(worse.sum(0)))
    assert 0 < low < difference < high
    single_low, single_high = bootstrap_interval(better, seed=0)
    assert high - low < (single_high - single_low) / 3
    flipped = paired_difference(worse, better, seed=0)
    np.testing.assert_allclose(flipped, [-difference, -high, -low])


def test_no_difference_with_itself() -> None:
    confusions = random_confusions(20)
    assert paired_difference(confusions, confusions, seed=0) == (0, 0, 0)


def test_refuses_what_can_not_be_resampled() -> None:
    confusions = random_confusions(5)
    with pytest.raises(DataError, match="not empty"):
        bootstrap_interval(confusions[:0], seed=0)
    with pytest.raises(DataError, match="to be paired"):
        paired_difference(confusions, confusions[:4], seed=0)
    with pytest.raises(ConfigError, match="`level` is 95"):
        bootstrap_interval(confusions, seed=0, level=95)
    with pytest.raises(ConfigError, match="`samples` is 0"):
        bootstrap_interval(confusions, seed=0, samples=0)
