from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, interpolate

from wsss.errors import DataError, StageError
from wsss.masks import cams as module
from wsss.masks.cams import group_by_size, multi_scale_cams, scaled_size

SCALES = (0.5, 1.0, 1.5, 2.0)


class PooledNetwork:
    """Averages 9×9 windows at stride 8 (cell j looks at pixel 8j), then a 1×1 convolution."""

    mean = (0.5, 0.4, 0.3)
    std = (0.2, 0.25, 0.3)

    def __init__(self, classes: int = 4) -> None:
        generator = torch.Generator().manual_seed(1)
        self.weight = torch.randn(classes, 3, 1, 1, generator=generator)
        self.seen: list[torch.Size] = []

    def cam(self, x: Tensor) -> Tensor:
        self.seen.append(x.shape)
        return conv2d(avg_pool2d(x, 9, stride=8, padding=4), self.weight)


class BarNetwork(PooledNetwork):
    """One class: how bright it is."""

    mean = (0.0, 0.0, 0.0)
    std = (1.0, 1.0, 1.0)

    def __init__(self) -> None:
        super().__init__(1)
        self.weight = torch.ones(1, 3, 1, 1)


class ConstantNetwork(PooledNetwork):
    """Gives every class the same value everywhere."""

    def __init__(self, *values: float) -> None:
        super().__init__(len(values))
        self.values = torch.tensor(values).view(1, -1, 1, 1)

    def cam(self, x: Tensor) -> Tensor:
        return self.values.expand(len(x), -1, x.shape[2] // 8, x.shape[3] // 8)


def photos(count: int, height: int = 45, width: int = 70, seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (count, 6, 8, 3), dtype=np.uint8)
    return [
        np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
        for image in coarse
    ]


def one_by_one(
    network: PooledNetwork, image: np.ndarray, keys: list[int], scales: tuple[float, ...], flip: bool
) -> np.ndarray:
    """The same, map by map: each is upsampled to the photo's size, then mirrored back, then added."""
    height, width = image.shape[:2]
    total = np.zeros((len(keys), height, width))
    for scale in scales:
        for mirrored in (False, True)[: 1 + flip]:
            x = torch.from_numpy(image.astype(np.float32).transpose(2, 0, 1).copy())[None] / 255
            if mirrored:
                x = x.flip(-1)
            size = (round(scale * height), round(scale * width))
            if size != (height, width):
                x = interpolate(x, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
            x = (x - torch.tensor(network.mean).view(1, 3, 1, 1)) / torch.tensor(network.std).view(1, 3, 1, 1)
            maps = network.cam(x)[0, keys].clamp(min=0)
            maps = interpolate(maps[None], (height, width), mode="bilinear", align_corners=False)[0].numpy()
            total += maps[:, :, ::-1] if mirrored else maps
    return total / (total.max((1, 2), keepdims=True) + 1e-5)


def cams_of(
    network: PooledNetwork, images: list[np.ndarray], keys: list[list[int]], **changes: Any
) -> list[np.ndarray]:
    options: dict[str, Any] = {"scales": SCALES, "flip": True, "size": None, "device": "cpu", **changes}
    return multi_scale_cams(network, images, keys, **options)


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("shape", [(45, 70), (64, 48)])
def test_equals_the_sum_made_map_by_map(shape: tuple[int, int], flip: bool) -> None:
    images, keys = photos(3, *shape), [[0, 2], [3], [1, 2, 3]]
    for cam, image, key in zip(cams_of(PooledNetwork(), images, keys, flip=flip), images, keys, strict=True):
        assert cam.dtype == np.float16
        assert cam.shape == (len(key), *shape)
        np.testing.assert_allclose(cam, one_by_one(PooledNetwork(), image, key, SCALES, flip), atol=1e-3)


def test_a_batch_gives_each_image_what_it_gets_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    images, keys = photos(5), [[0], [], [1, 3], [2], [0, 1, 2, 3]]
    together = cams_of(network := PooledNetwork(), images, keys)
    assert [shape[0] for shape in network.seen] == [10] * len(SCALES)
    monkeypatch.setattr(module, "BATCH_PIXELS", {"cpu": 2 * (2 * 90 * 140)})
    in_pairs = cams_of(network := PooledNetwork(), images, keys)
    assert [shape[0] for shape in network.seen] == [4] * 8 + [2] * 4
    for index, (image, key) in enumerate(zip(images, keys, strict=True)):
        alone = cams_of(PooledNetwork(), [image], [key])[0]
        assert together[index].shape == (len(key), 45, 70)
        np.testing.assert_allclose(together[index], alone, atol=1e-3)
        np.testing.assert_allclose(in_pairs[index], alone, atol=1e-3)


def test_maps_reach_just_below_one_and_empty_maps_stay_empty() -> None:
    strong, weak, negative = cams_of(ConstantNetwork(5.0, 1e-4, -3.0), photos(1), [[0, 1, 2]])[0]
    np.testing.assert_allclose(strong, 1, atol=1e-3)
    summed = 8 * 1e-4
    np.testing.assert_allclose(weak, summed / (summed + 1e-5), atol=1e-3)
    assert not negative.any()
    real = cams_of(PooledNetwork(), photos(4), [[0], [1], [2], [3]])
    assert all(0 <= cam.min() <= cam.max() <= 1 for cam in real)


def test_cams_of_a_mirrored_photo_are_the_mirrored_cams() -> None:
    image = photos(1, 50, 61)[0]
    keys = [[0, 1, 2, 3]]
    plain = cams_of(PooledNetwork(), [image], keys)[0]
    mirrored = cams_of(PooledNetwork(), [image[:, ::-1]], keys)[0]
    np.testing.assert_allclose(mirrored[:, :, ::-1], plain, atol=1e-3)


def test_a_bar_near_the_right_edge_stays_where_it_is() -> None:
    image = np.zeros((40, 500, 3), np.uint8)
    image[:, 460:480] = 255
    columns = np.arange(500)

    def centre(picture: np.ndarray, flip: bool) -> float:
        cam = cams_of(BarNetwork(), [picture], [[0]], scales=(1.0,), flip=flip)[0][0].astype(np.float64)
        return float((cam.sum(0) * columns).sum() / cam.sum())

    plain = centre(image, flip=False)
    mirrored_back = 499 - centre(image[:, ::-1], flip=False)
    # A grid of 63 cells over 500 pixels is off by a fraction of a cell, to either side of 469.5.
    assert plain == pytest.approx(469.3, abs=0.3)
    assert mirrored_back == pytest.approx(466.2, abs=0.3)
    assert centre(image, flip=True) == pytest.approx((plain + mirrored_back) / 2, abs=0.05)


def test_scales_apply_to_the_asked_long_side() -> None:
    network = PooledNetwork()
    cam = cams_of(network, photos(1, 45, 70), [[1]], size=140, scales=(0.5, 1.0, 1.25))[0]
    assert [tuple(shape[2:]) for shape in network.seen] == [(45, 70), (90, 140), (112, 175)]
    assert cam.shape == (1, 45, 70)
    assert scaled_size(375, 500, 0.5) == (188, 250)
    assert scaled_size(500, 333, 1.0, 256) == (256, 170)
    assert scaled_size(1, 400, 0.5, 100) == (1, 50)


def test_network_gets_normalised_pixels() -> None:
    class Recorder(PooledNetwork):
        def cam(self, x: Tensor) -> Tensor:
            self.input = x
            return super().cam(x)

    image = photos(1)[0]
    cams_of(network := Recorder(), [image], [[0]], scales=(1.0,))
    expected = (image / 255 - np.array(network.mean)) / np.array(network.std)
    np.testing.assert_allclose(network.input[0].permute(1, 2, 0), expected, atol=1e-5)
    np.testing.assert_allclose(network.input[1].permute(1, 2, 0), expected[:, ::-1], atol=1e-5)


def test_resizing_agrees_with_pillow() -> None:
    image = photos(1, 80, 120)[0]
    x = torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32).copy())[None] / 255
    for size in ((40, 60), (160, 240)):
        theirs = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC)) / 255
        np.testing.assert_allclose(module._resize(x, size)[0].permute(1, 2, 0), theirs, atol=1.5 / 255)


def test_nothing_to_do_gives_nothing() -> None:
    assert cams_of(PooledNetwork(), [], []) == []
    assert cams_of(PooledNetwork(), photos(1), [[]])[0].shape == (0, 45, 70)


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(DataError, match="must all be the same"):
        cams_of(PooledNetwork(), [*photos(1), *photos(1, 45, 71)], [[0], [1]])
    with pytest.raises(DataError, match="one per image"):
        cams_of(PooledNetwork(), photos(2), [[0]])
    with pytest.raises(StageError, match="not finite"):
        cams_of(ConstantNetwork(float("nan")), photos(1), [[0]])


def test_groups_equal_sizes_in_order() -> None:
    assert group_by_size([(3, 4), (4, 3), (3, 4), (1, 1), (4, 3)]) == [[0, 2], [1, 4], [3]]
    assert group_by_size([]) == []


def test_legacy_registration_shows_two_ghosts_beside_the_bar() -> None:
    """Stretched to 512 columns and cropped to 500, the map lies 10 columns right of its bar; the mirrored
    copy, cropped before it is mirrored back, lies where the bar began."""
    image = np.zeros((40, 500, 3), np.uint8)
    image[:, 460:480] = 255
    columns = np.arange(500)

    def centre(picture: np.ndarray, flip: bool) -> float:
        cam = cams_of(BarNetwork(), [picture], [[0]], scales=(1.0,), flip=flip, registration="legacy")
        weights = cam[0][0].astype(np.float64).sum(0)
        return float((weights * columns).sum() / weights.sum())

    plain, mirrored_back = centre(image, flip=False), 499 - centre(image[:, ::-1], flip=False)
    assert plain == pytest.approx(480.6, abs=1.0)
    assert mirrored_back == pytest.approx(465.4, abs=0.7)
    assert centre(image, flip=True) == pytest.approx((plain + mirrored_back) / 2, abs=0.3)
    exact = cams_of(BarNetwork(), [image[:, :496]], [[0]], scales=(1.0,), flip=True)[0]
    aligned = cams_of(BarNetwork(), [image[:32, :496]], [[0]], scales=(1.0,), registration="legacy")[0]
    np.testing.assert_allclose(aligned[:, 8:24], exact[:, 8:24], atol=2e-3, err_msg="multiples of 16 agree")


class SubcategoryNetwork(PooledNetwork):
    """Four maps: the first and third are of class 0, the others of class 2; class 1 has none."""

    parents = (0, 2, 0, 2)


@pytest.mark.parametrize("flip", [True, False])
def test_sub_categories_are_summed_one_by_one_before_the_largest_is_taken(flip: bool) -> None:
    """SC-CAM's order: each sub-category over scales and mirrors, the maximum of its class over all of its
    sub-categories, then the largest. Taken inside a scale, the maximum would mix them."""
    image = photos(1)[0]
    found = cams_of(SubcategoryNetwork(), [image], [[2, 1, 0]], flip=flip, scales=(0.5, 1.0, 1.5))[0]
    each = {n: np.zeros(image.shape[:2]) for n in range(4)}
    for scale in (0.5, 1.0, 1.5):
        x = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255
        x = module._resize(x, scaled_size(*image.shape[:2], scale))
        network = SubcategoryNetwork()
        x = (x - torch.tensor(network.mean).view(1, 3, 1, 1)) / torch.tensor(network.std).view(1, 3, 1, 1)
        for mirrored in (False, True)[: 1 + flip]:
            maps = network.cam(x.flip(-1) if mirrored else x).relu()
            maps = torch.nn.functional.interpolate(maps, image.shape[:2], mode="bilinear")[0]
            for n in range(4):
                each[n] += np.asarray(maps[n].flip(-1) if mirrored else maps[n], np.float64)
    for label, row in ((0, 2), (2, 0)):
        own = [each[n] for n in range(4) if SubcategoryNetwork.parents[n] == label]
        joint = np.max([one.max() for one in own]) + 1e-5
        expected = np.max([one / joint for one in own], 0)
        np.testing.assert_allclose(found[row], expected, atol=1e-3)
        assert min(np.abs(found[row] - one / (one.max() + 1e-5)).max() for one in own) > 0.02
    assert not found[1].any(), "a class without sub-categories has an empty map"


def test_the_largest_sub_category_at_one_scale_is_not_the_largest_of_all() -> None:
    """Two flat maps, [3, 1] at the small scale and [1, 2] at the large one: sums are 4 and 3, not 3 + 2."""

    class Flat(PooledNetwork):
        parents = (0, 0, 1)

        def cam(self, x: Tensor) -> Tensor:
            values = [3e-5, 1e-5, 9.0] if x.shape[-1] < 50 else [1e-5, 2e-5, 9.0]
            return torch.tensor(values).view(1, 3, 1, 1).expand(len(x), 3, 4, 4)

    cam = cams_of(Flat(), photos(1), [[0]], scales=(0.5, 1.0), flip=False)[0]
    np.testing.assert_allclose(cam, 4 / (4 + 1), atol=1e-3)


def test_sub_categories_of_several_images_do_not_mix() -> None:
    keys = [[0], [], [2, 0], [1]]
    together = cams_of(SubcategoryNetwork(), photos(4), keys)
    for image, key, found in zip(photos(4), keys, together, strict=True):
        np.testing.assert_allclose(cams_of(SubcategoryNetwork(), [image], [key])[0], found, atol=1e-3)
