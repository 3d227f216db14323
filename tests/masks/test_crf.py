from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydensecrf import densecrf

from wsss.config.params.stages import CrfParams, PseudoMasksParams
from wsss.errors import ConfigError, DataError
from wsss.masks.crf import cam_to_sure_mask_with_crf, dense_crf, infer, labels_to_unary

HEIGHT, WIDTH = 24, 32
GAUSSIAN_ONLY = CrfParams(bilateral_weight=0, iterations=1)
BOTH = CrfParams(iterations=1)
WIDE = CrfParams(bilateral_color_sigma=60, iterations=1)


def smooth(channels: int, seed: int) -> np.ndarray:
    """Return float64[H, W, channels] in [0, 1], without sharp edges."""
    coarse = np.random.default_rng(seed).random((channels, 4, 5), dtype=np.float32)
    maps = [Image.fromarray(c).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC) for c in coarse]
    return np.clip(np.stack([np.asarray(m) for m in maps], -1), 0, 1).astype(np.float64)


def photo(seed: int = 5) -> np.ndarray:
    return np.rint(255 * smooth(3, seed)).astype(np.uint8)


def random_scores(labels: int = 3, seed: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.01, 1, (labels, HEIGHT, WIDTH)).astype(np.float32)


def brute_force(rgb: np.ndarray, scores: np.ndarray, params: CrfParams) -> np.ndarray:
    """Mean field with the full matrices of pixel pairs, in float64."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    position = np.stack([y.ravel(), x.ravel()], 1).astype(np.float64)
    colour = rgb.reshape(-1, 3).astype(np.float64)

    def distance(points: np.ndarray) -> np.ndarray:
        return ((points[:, None] - points[None]) ** 2).sum(-1)

    gaussian = np.exp(-distance(position) / (2 * params.gaussian_sigma**2))
    bilateral = np.exp(
        -distance(position) / (2 * params.bilateral_sigma**2)
        - distance(colour) / (2 * params.bilateral_color_sigma**2)
    )
    unary = -np.log(np.clip(scores.astype(np.float64), 1e-5, 1)).reshape(len(scores), -1)
    q = softmax(-unary)
    for _ in range(params.iterations):
        message = np.zeros_like(q)
        for weight, kernel in ((params.gaussian_weight, gaussian), (params.bilateral_weight, bilateral)):
            root = np.sqrt(kernel.sum(1))
            message += weight * q @ (kernel / root[:, None] / root[None])
        q = softmax(-unary + message)
    return q.reshape(scores.shape)


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(0))
    return powers / powers.sum(0)


def test_smoothing_alone_agrees_with_brute_force() -> None:
    expected = brute_force(photo(), random_scores(), GAUSSIAN_ONLY)
    assert np.abs(dense_crf(photo(), random_scores(), GAUSSIAN_ONLY) - expected).max() <= 0.01


@pytest.mark.parametrize("seed", range(4))
def test_both_kernels_agree_with_brute_force_on_a_smooth_photo(seed: int) -> None:
    # The library filters on a lattice whose error falls as pixels come to lie denser in colour space.
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    gradient = np.stack([60 + 4 * x, 40 + 6 * y, 200 - 3 * x - 2 * y], -1).astype(np.uint8)
    scores = random_scores(3, seed)
    for params, largest in ((BOTH, 0.06), (WIDE, 0.02)):
        result = dense_crf(gradient, scores, params)
        assert result.dtype == np.float32
        np.testing.assert_allclose(result.sum(0), 1, atol=1e-5)
        error = np.abs(result - brute_force(gradient, scores, params))
        assert error.max() <= largest
        assert error.mean() <= largest / 5


@pytest.mark.parametrize("seed", range(4))
def test_both_kernels_agree_in_labels_on_noise(seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    scores = random_scores(3, seed)
    for params, largest, same in ((BOTH, 0.4, 0.93), (WIDE, 0.04, 0.97)):
        result, expected = dense_crf(noise, scores, params), brute_force(noise, scores, params)
        assert np.abs(result - expected).max() <= largest
        assert np.abs(result - expected).mean() <= 0.03
        assert (result.argmax(0) == expected.argmax(0)).mean() >= same


def test_without_kernels_scores_are_only_normalised() -> None:
    scores = random_scores()
    result = dense_crf(photo(), scores, CrfParams(gaussian_weight=0, bilateral_weight=0))
    np.testing.assert_allclose(result, scores / scores.sum(0), atol=1e-5)


def test_undecided_scores_on_a_flat_photo_stay_undecided() -> None:
    flat = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    result = dense_crf(flat, np.full((4, HEIGHT, WIDTH), 0.3, np.float32), CrfParams())
    np.testing.assert_allclose(result, 0.25, atol=1e-5)


def test_order_of_labels_does_not_matter() -> None:
    order = [2, 0, 1]
    scores = random_scores()
    np.testing.assert_allclose(
        dense_crf(photo(), scores[order], BOTH), dense_crf(photo(), scores, BOTH)[order], atol=1e-5
    )


def test_scores_below_the_smallest_count_as_the_smallest() -> None:
    low, lowest = random_scores(), random_scores()
    low[0, :5], lowest[0, :5] = 1e-5, 0
    np.testing.assert_array_equal(dense_crf(photo(), low, BOTH), dense_crf(photo(), lowest, BOTH))


def test_photo_may_be_read_only_or_a_view() -> None:
    rgb = photo()
    mirrored = rgb[:, ::-1]
    mirrored.flags.writeable = False
    scores = random_scores()
    expected = dense_crf(mirrored.copy(), scores, BOTH)
    np.testing.assert_array_equal(dense_crf(mirrored, scores, BOTH), expected)


def test_energies_of_hard_labels() -> None:
    unary = labels_to_unary(np.array([[0, 2]]), 3, 0.7)
    own, other = 0.356675, 1.897120
    np.testing.assert_allclose(unary[:, 0], [[own, other], [other, other], [other, own]], atol=1e-6)
    np.testing.assert_allclose(np.exp(-unary).sum(0), 1, atol=1e-6)
    labels = np.random.default_rng(0).integers(0, 3, (HEIGHT, WIDTH))
    off = CrfParams(gaussian_weight=0, bilateral_weight=0)
    np.testing.assert_array_equal(infer(photo(), labels_to_unary(labels, 3, 0.7), off).argmax(0), labels)


def test_energies_refuse_what_is_out_of_range() -> None:
    with pytest.raises(ConfigError, match="`confidence` is 1"):
        labels_to_unary(np.zeros((2, 2), int), 2, 1)
    with pytest.raises(DataError, match=r"must be in \[0, 1\]"):
        labels_to_unary(np.full((2, 2), 2), 2, 0.5)


def test_mask_follows_the_edge_that_the_cam_misses() -> None:
    rgb = np.full((40, 60, 3), 40, np.uint8)
    rgb[10:30, 20:50] = (220, 180, 60)
    cam = np.full((1, 40, 60), 0.2, np.float16)
    cam[0, 13:27, 17:44] = 0.9
    mask, _ = cam_to_sure_mask_with_crf(rgb, cam, np.array([14]), PseudoMasksParams())
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 15}
    object_ = rgb[..., 0] == 220
    assert ((mask == 15) == object_).mean() > ((cam[0] > 0.5) == object_).mean()
    assert ((mask == 15) == object_).mean() > 0.99


def test_mask_without_classes_is_background() -> None:
    mask, _ = cam_to_sure_mask_with_crf(
        photo(), np.zeros((0, 0, 0), np.float16), np.zeros(0, int), PseudoMasksParams()
    )
    assert mask.shape == (HEIGHT, WIDTH)
    assert mask.dtype == np.uint8
    assert not mask.any()


def test_refuses_a_photo_of_another_size() -> None:
    with pytest.raises(DataError, match=r"uint8\[24, 31, 3\]"):
        dense_crf(photo(), random_scores()[:, :, :-1], BOTH)


def test_loads_without_torch() -> None:
    code = "import sys, wsss.masks.crf, wsss.masks.images; sys.exit('torch' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_recovers_a_real_object_from_a_shrunken_one(voc_root: Path) -> None:
    stem = "2007_000063"
    if not (voc_root / "SegmentationClass" / f"{stem}.png").is_file():
        pytest.skip(f"{stem} is not among the photos in {voc_root}")
    with Image.open(voc_root / "JPEGImages" / f"{stem}.jpg") as image:
        rgb = np.asarray(image.convert("RGB"))
    with Image.open(voc_root / "SegmentationClass" / f"{stem}.png") as image:
        truth = np.asarray(image)
    dog = 12
    small = Image.fromarray(np.uint8(255 * (truth == dog))).resize((rgb.shape[1] // 32, rgb.shape[0] // 32))
    blurred = np.asarray(small.resize(rgb.shape[1::-1], Image.Resampling.BICUBIC)) / 255
    counted = truth != 255

    def overlap(mask: np.ndarray) -> float:
        return (mask & (truth == dog))[counted].sum() / (mask | (truth == dog))[counted].sum()

    mask, _ = cam_to_sure_mask_with_crf(rgb, blurred[None].astype(np.float16), [dog - 1], PseudoMasksParams())
    assert overlap(mask == dog) > max(0.8, overlap(blurred > 0.2755))


@pytest.mark.parametrize("labels", [1, 2, 3, 4, 7, 21])
def test_the_label_that_makes_the_library_faster_changes_nothing(labels: int) -> None:
    params = CrfParams()
    energies = -np.log(random_scores(labels))
    field = densecrf.DenseCRF2D(WIDTH, HEIGHT, labels)
    field.setUnaryEnergy(energies.reshape(labels, -1))
    field.addPairwiseGaussian(sxy=params.gaussian_sigma, compat=params.gaussian_weight)
    colour, position = params.bilateral_color_sigma, params.bilateral_sigma
    field.addPairwiseBilateral(sxy=position, srgb=colour, rgbim=photo(), compat=params.bilateral_weight)
    expected = np.asarray(field.inference(params.iterations)).reshape(energies.shape)
    found = infer(photo(), energies, params)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-5, "no more than the order of the library's sums does"
    assert np.array_equal(found.argmax(0), expected.argmax(0))
