from __future__ import annotations

import colorsys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from wsss.data.batches.augment import (
    Augmentation,
    draw_jitter,
    evaluation_image,
    jitter,
    normalise,
    planes,
    random_state,
    resized,
    turn_hue,
)
from wsss.data.readers.voc import VocDataset

NONE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


class Fixed:
    """Answers of a generator, one after the other."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[object, ...]] = []

    def _next(self, *asked: object, **_: object) -> object:
        self.asked.append(asked)
        return self.answers.pop(0)

    integers = random = uniform = permutation = _next


def test_random_state_is_a_function_of_its_parts() -> None:
    assert random_state(1, 2, "x").random() == random_state(1, 2, "x").random()
    values = {random_state(*parts).random() for parts in ((1, 2, "x"), (2, 1, "x"), (1, 2, "y"), (12, "x"))}
    assert len(values) == 4


def test_normalise_against_the_formula() -> None:
    image = picture(20, 10)
    mean, std = IMAGENET
    expected = (np.asarray(image, np.float64) / 255 - mean) / std
    result = normalise(planes(image), mean, std)
    assert (result.dtype, result.shape) == (np.float32, (3, 10, 20))
    np.testing.assert_allclose(result, expected.transpose(2, 0, 1), atol=1e-6)


def test_evaluation_image_keeps_proportions() -> None:
    assert evaluation_image(picture(50, 30), None, *IMAGENET).shape == (3, 30, 50)
    assert evaluation_image(picture(50, 30), 100, *IMAGENET).shape == (3, 60, 100)
    assert evaluation_image(picture(30, 50), 10, *IMAGENET).shape == (3, 10, 6)
    assert resized(1000, 1, 10) == (10, 1)
    half = picture(50, 30).resize((25, 15), Image.Resampling.BICUBIC)
    np.testing.assert_allclose(evaluation_image(picture(50, 30), 25, *NONE), planes(half), atol=1e-6)


@pytest.mark.parametrize("mirrored", [False, True])
def test_window_equals_resizing_all_and_cropping(mirrored: bool) -> None:
    image = picture(500, 375)
    random = Fixed(401, 0.4 if mirrored else 0.6, 31, 17)
    augmentation = Augmentation(224, (256, 512), False, *NONE)
    result = augmentation(image, random)  # type: ignore[arg-type]
    assert random.asked == [(256, 513), (), (0, 401 - 224 + 1), (0, 301 - 224 + 1)]
    whole = planes(image.resize((401, 301), Image.Resampling.BICUBIC))
    window = whole[:, 17 : 17 + 224, 31 : 31 + 224]
    expected = window[:, :, ::-1] if mirrored else window
    difference = np.abs(result - expected)
    assert difference.max() < 2.5 / 255  # rounding; the window's corner is a float32 in Pillow
    assert (difference > 0.5 / 255).mean() < 0.01


def test_smaller_images_land_on_a_canvas_of_zeros() -> None:
    random = Fixed(60, 0.9, 40, 3)
    image = Image.new("RGB", (100, 50), (255, 255, 255))
    result = Augmentation(100, (60, 60), False, *IMAGENET)(image, random)  # type: ignore[arg-type]
    assert random.asked[2:] == [(0, 41), (0, 71)]
    inside = np.zeros((100, 100), bool)
    inside[3:33, 40:100] = True
    assert (result[:, ~inside] == 0).all()
    white = (1 - np.array(IMAGENET[0])) / np.array(IMAGENET[1])
    np.testing.assert_allclose(result[:, inside], np.repeat(white[:, None], inside.sum(), 1), rtol=1e-5)


def test_one_axis_cropped_the_other_padded() -> None:
    result = Augmentation(64, (80, 80), False, *NONE)(Image.new("RGB", (80, 20), "white"), random_state(0))
    assert result.shape == (3, 64, 64)
    assert (result[0] > 0.99).all(axis=1).sum() == 20


@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    crop=st.integers(1, 70),
    long_side=st.tuples(st.integers(1, 80), st.integers(0, 40)),
    seed=st.integers(0, 99),
)
def test_any_size_gives_a_finite_crop(
    size: tuple[int, int], crop: int, long_side: tuple[int, int], seed: int
) -> None:
    augmentation = Augmentation(crop, (long_side[0], sum(long_side)), True, *IMAGENET)
    result = augmentation(picture(*size), random_state(seed))
    assert (result.shape, result.dtype) == ((3, crop, crop), np.float32)
    assert np.isfinite(result).all()


def test_jitter_and_none_show_the_same_window() -> None:
    image = picture(200, 100)
    plain = Augmentation(64, (90, 160), False, *NONE)(image, random_state(4))
    coloured = Augmentation(64, (90, 160), True, *NONE)(image, random_state(4))
    assert not np.allclose(plain, coloured)
    assert np.corrcoef(plain.mean(0).ravel(), coloured.mean(0).ravel())[0, 1] > 0.9


@pytest.mark.parametrize("turn", [-0.1, -0.03, 0.0, 0.07, 0.1])
def test_hue_against_colorsys(turn: float) -> None:
    pixels = np.random.default_rng(1).random((3, 8, 9)).astype(np.float32)
    pixels[:, 0] = pixels[0, 0]  # greys stay grey
    pixels[:, 1, :3] = np.eye(3)
    result = turn_hue(pixels, turn)
    for row, column in np.ndindex(8, 9):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixels[:, row, column].tolist())
        expected = colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)
        np.testing.assert_allclose(result[:, row, column], expected, atol=2e-6)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 0, 3, 1)])
def test_jitter_against_pillow(order: tuple[int, ...]) -> None:
    image = picture(60, 40, seed=5)
    brightness, contrast, saturation = factors = (0.8, 1.25, 0.75)
    result = jitter(planes(image), draw_jitter(Fixed(factors, 0.0, order)))  # type: ignore[arg-type]
    enhance = (
        lambda x: ImageEnhance.Brightness(x).enhance(brightness),
        lambda x: ImageEnhance.Contrast(x).enhance(contrast),
        lambda x: ImageEnhance.Color(x).enhance(saturation),
        lambda x: x,
    )
    for step in order:
        image = enhance[step](image)
    assert np.abs(result - planes(image)).max() < 3 / 255  # Pillow rounds after every step


def test_jitter_draws_from_its_ranges() -> None:
    grey = np.full((3, 1, 1), 0.5, np.float32)
    values = np.array([jitter(grey.copy(), draw_jitter(random_state(k)))[:, 0, 0] for k in range(2000)])
    assert np.allclose(values, values[:, :1], atol=1e-6)  # only brightness changes a lone grey pixel
    assert 0.35 <= values.min() < 0.352
    assert 0.648 < values.max() <= 0.65
    assert abs(values.mean() - 0.5) < 0.01


def test_mirror_and_long_side_are_uniform() -> None:
    ramp = np.linspace(50, 255, 64, dtype=np.uint8)
    image = Image.fromarray(np.tile(ramp[None, :, None], (64, 1, 3)))
    augmentation = Augmentation(40, (16, 24), False, *NONE)
    sides, mirrored = [], 0
    for k in range(900):
        result = augmentation(image, random_state(k))[0]
        filled = np.flatnonzero((result > 0).any(axis=0))
        sides.append(int((result > 0).any(axis=1).sum()))
        row = result[result.any(axis=1)][0, filled]
        mirrored += row[0] > row[-1]
    assert set(sides) == set(range(16, 25))
    assert 390 < mirrored < 510
    assert min(np.bincount(sides)[16:]) > 65


def test_real_photo_keeps_its_statistics(voc_root: Path) -> None:
    dataset = VocDataset(voc_root)
    id = dataset.split("mini_train")[0]
    image = dataset.image(id)
    augmentation = Augmentation(224, (256, 512), True, *NONE)
    mean = np.mean([augmentation(image, random_state(k)).mean() for k in range(30)])
    assert 0 < mean <= np.asarray(image).mean() / 255 * 1.2


@pytest.mark.parametrize("size", [(90, 60), (30, 44)])
def test_a_mask_gets_the_crop_of_its_image(size: tuple[int, int]) -> None:
    ids = np.zeros((size[1], size[0]), np.uint8)
    ids[size[1] // 3 :, : size[0] // 2] = 3
    ids[: size[1] // 3] = 7
    image = Image.fromarray(np.repeat(ids[:, :, None] * 20, 3, axis=2))
    augmentation = Augmentation(48, (40, 100), False, *NONE)
    for seed in range(12):
        pixels = augmentation(image, random_state(seed))[0] * 255 / 20
        mask = augmentation.mask(ids, random_state(seed))
        assert mask.shape == (48, 48)
        inside = mask != 255
        assert set(np.unique(mask)) <= {0, 3, 7, 255}
        assert (np.abs(pixels - mask)[inside] < 0.5).mean() > 0.85, "only edges are blurred"
        assert not pixels[~inside].any(), "the canvas is empty where the mask is ignored"
