"""FMix masks: their area, their edge, and the spectrum they are cut from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from wsss.methods.fmix import binarise, fmix_mask, low_frequency_image


def mask(share: float, *, size: tuple[int, int] = (300, 300), soft: float = 0.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return fmix_mask(*size, share, decay=3.0, max_soft=soft, sampler="isotropic", rng=rng)


@given(
    share=st.floats(0, 1),
    height=st.integers(2, 40),
    width=st.integers(2, 40),
    seed=st.integers(0, 2**32 - 1),
    sampler=st.sampled_from(["isotropic", "legacy"]),
)
@settings(deadline=None, max_examples=200)
def test_a_hard_mask_is_0_or_1_and_covers_its_share(
    share: float, height: int, width: int, seed: int, sampler: str
) -> None:
    rng = np.random.default_rng(seed)
    found = fmix_mask(height, width, share, decay=3.0, max_soft=0.0, sampler=sampler, rng=rng)  # type: ignore[arg-type]
    assert found.dtype == np.float32
    assert found.shape == (height, width)
    assert set(np.unique(found)) <= {0.0, 1.0}
    assert abs(found.mean(dtype=np.float64) - share) <= 1 / (height * width) + 1e-9


@pytest.mark.parametrize(("share", "value"), [(1.0, 1.0), (0.0, 0.0)])
def test_a_share_of_all_or_nothing_is_all_or_nothing(share: float, value: float) -> None:
    assert (mask(share) == value).all()


def test_both_roundings_of_an_uneven_share_are_drawn() -> None:
    grey = np.arange(10.0).reshape(2, 5)
    sums = [binarise(grey, 0.25, 0.0, np.random.default_rng(seed)).sum() for seed in range(400)]
    assert set(sums) == {2.0, 3.0}
    assert abs(np.mean(sums) - 2.5) < 0.1


def test_the_brightest_pixels_are_taken() -> None:
    grey = np.array([[0.1, 0.9], [0.5, -1.0]])
    assert binarise(grey, 0.5, 0.0, np.random.default_rng(0)).tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(("soft", "fractional"), [(0.1, 0.2), (0.2, 0.4), (0.3, 0.6)])
def test_a_soft_edge_keeps_the_mean_and_takes_its_share_on_either_side(
    soft: float, fractional: float
) -> None:
    found = mask(0.4, soft=soft)
    assert found.mean(dtype=np.float64) == pytest.approx(0.4, abs=2e-5)
    assert ((found > 0) & (found < 1)).mean() == pytest.approx(fractional, abs=1e-4)


def test_a_soft_edge_never_needs_more_than_the_smaller_share() -> None:
    found = mask(0.05, soft=0.3)
    assert ((found > 0) & (found < 1)).mean() == pytest.approx(0.10, abs=1e-4)
    assert found.mean(dtype=np.float64) == pytest.approx(0.05, abs=2e-5)


def test_a_soft_mask_falls_with_the_brightness() -> None:
    grey = np.random.default_rng(1).standard_normal((20, 20))
    found = binarise(grey, 0.4, 0.3, np.random.default_rng(0))
    assert (np.diff(found.ravel()[np.argsort(grey.ravel())]) >= 0).all()


def energies(
    sampler: str, count: int, *, decay: float = 3.0, size: int = 64
) -> tuple[np.ndarray, np.ndarray]:
    """Power by |k_x| and by |k_y|, 1 to 8, summed over images; float[count, 8] each."""
    rows, columns = [], []
    frequency = np.abs(np.fft.fftfreq(size, 1 / size)).astype(int)
    for seed in range(count):
        grey = low_frequency_image(size, size, decay, sampler, np.random.default_rng(seed))  # type: ignore[arg-type]
        power = np.abs(np.fft.fft2(grey)) ** 2
        rows.append([power[frequency == k].sum() / power.sum() for k in range(9)])
        columns.append([power[:, frequency == k].sum() / power.sum() for k in range(9)])
    return np.array(columns), np.array(rows)


def test_the_isotropic_spectrum_prefers_no_direction() -> None:
    across, down = energies("isotropic", 3000)
    difference = across - down
    error = difference.std(axis=0, ddof=1) / np.sqrt(len(difference))
    assert (np.abs(difference.mean(axis=0)) < 4 * error).all()
    assert (across.mean(axis=0)[:3] > 0.01).all(), "there is energy to compare"


def test_the_legacy_spectrum_has_two_horizontal_frequencies_only() -> None:
    across, down = energies("legacy", 20)
    assert across[:, 2:].max() < 1e-12
    assert down[:, 2:].sum() > 1e-6


def test_a_legacy_mask_is_one_interval_in_every_row() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        found = fmix_mask(64, 64, 0.4, decay=3.0, max_soft=0, sampler="legacy", rng=rng)
        # On the circle, as a spectrum has it: at most one rise a row.
        assert (((np.roll(found, -1, axis=1) - found) == 1).sum(axis=1) <= 1).all()


def test_the_spectrum_falls_with_the_power_that_was_asked_for() -> None:
    size, decay = 64, 2.0
    total = np.zeros((size, size))
    for seed in range(400):
        grey = low_frequency_image(size, size, decay, "isotropic", np.random.default_rng(seed))
        total += np.abs(np.fft.fft2(grey)) ** 2
    assert total[0, 4] / total[0, 8] == pytest.approx(2 ** (2 * decay), rel=0.3)
    assert total[8, 0] / total[16, 0] == pytest.approx(2 ** (2 * decay), rel=0.3)


def test_a_faster_falling_spectrum_makes_fewer_blobs() -> None:
    def blobs(decay: float) -> float:
        counts = []
        for seed in range(60):
            rng = np.random.default_rng(seed)
            found = fmix_mask(64, 64, 0.5, decay=decay, max_soft=0, sampler="isotropic", rng=rng)
            counts.append(ndimage.label(found)[1])
        return float(np.mean(counts))

    found = [blobs(decay) for decay in (1.0, 2.0, 3.0, 5.0)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 3 * found[-1]


@pytest.mark.parametrize("size", [(31, 47), (2, 2), (2, 3), (64, 33)])
def test_any_size_works(size: tuple[int, int]) -> None:
    for sampler in ("isotropic", "legacy"):
        grey = low_frequency_image(*size, 3.0, sampler, np.random.default_rng(0))
        assert grey.shape == size
        assert np.isfinite(grey).all()
