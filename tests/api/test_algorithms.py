"""Functions of arrays give what the stages' own functions give, and refuse what does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import wsss
from wsss.config.params.base import CrfParams
from wsss.errors import ConfigError, DataError
from wsss.masks.cams import multi_scale_cams
from wsss.masks.crf import dense_crf
from wsss.models import CamNetwork, create_backbone


@pytest.fixture(scope="module")
def network() -> CamNetwork:
    torch.manual_seed(0)
    return CamNetwork(create_backbone("mobilenet_v2", "none"), classes=3).eval()


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def test_cams_of_files_pictures_and_arrays_of_any_size_come_in_their_order(
    network: CamNetwork, tmp_path: Path
) -> None:
    arrays = [photo(32, 48), photo(40, 40, 1), photo(32, 48, 2)]
    Image.fromarray(arrays[0]).save(tmp_path / "a.png")
    given = [tmp_path / "a.png", Image.fromarray(arrays[1]), arrays[2]]
    found = wsss.cams(network, given, [[2, 0], [], [1]], scales=[1.0, 0.5], device="cpu")
    for number, keys in enumerate(([0, 2], [], [1])):
        (alone,) = multi_scale_cams(
            network, [arrays[number]], [keys], scales=[1.0, 0.5], flip=True, size=None, device="cpu"
        )
        assert found[number].shape == (len(keys), *arrays[number].shape[:2])
        np.testing.assert_allclose(found[number].astype(float), alone.astype(float), atol=2e-3)


def test_a_dense_crf_has_the_settings_of_study_files() -> None:
    rgb, scores = photo(12, 16), np.random.default_rng(1).random((3, 12, 16))
    ours = wsss.crf(Image.fromarray(rgb), scores, bilateral_weight=4, iterations=3)
    np.testing.assert_array_equal(ours, dense_crf(rgb, scores, CrfParams(bilateral_weight=4, iterations=3)))


def test_a_walk_is_the_power_of_its_transition_matrix() -> None:
    """Against dense matrices by hand: A = exp(−|Δf|)^β within the radius, columns that sum to 1."""
    rng = np.random.default_rng(3)
    features, scores = rng.random((4, 3, 4)), rng.random((2, 3, 4))
    cells = [(y, x) for y in range(3) for x in range(4)]
    affinity = np.zeros((12, 12))
    for i, (y, x) in enumerate(cells):
        for j, (v, u) in enumerate(cells):
            if (y - v) ** 2 + (x - u) ** 2 < 2**2:
                affinity[i, j] = np.exp(-np.abs(features[:, y, x] - features[:, v, u]).mean()) ** 3.0
    power = np.linalg.matrix_power(affinity / affinity.sum(0, keepdims=True), 4)
    expected = (scores.reshape(2, 12) @ power).reshape(2, 3, 4)
    found = wsss.walk(scores, torch.from_numpy(features), radius=2, beta=3.0, log_steps=2)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_same_seed_mixes_alike_and_labels_follow_the_images() -> None:
    images, labels = torch.rand(4, 3, 16, 16), torch.eye(4)
    one, same = (wsss.mix(images, labels, kind="fmix", alpha=1.0, decay=3.0, seed=5) for _ in range(2))
    assert torch.equal(one.images, same.images) and torch.equal(one.labels, same.labels)
    other = wsss.mix(images, labels, kind="fmix", alpha=1.0, seed=6)
    assert not torch.equal(one.images, other.images)
    mine = (one.images == images).all(1).float().mean((1, 2))
    moved = one.permutation != torch.arange(4)
    torch.testing.assert_close(one.weight[moved], mine[moved], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: wsss.crf(photo(4, 4), np.ones((1, 4, 4)), iteration=3), ["wsss.crf", "'iterations'"]),
        (lambda: wsss.crf(photo(4, 4), np.ones((1, 4, 4)), iterations=0), ["iterations", "greater than 0"]),
        (lambda: wsss.crf(photo(4, 4), np.ones((1, 4, 5))), ["uint8[4, 4, 3]", "[4, 5, 3]"]),
        (lambda: wsss.crf(photo(4, 4), np.ones((4, 4))), ["[4, 4]", "[L, H, W]"]),
        (lambda: wsss.crf(np.ones((4, 4)), np.ones((1, 4, 4))), ["float64[4, 4]", "uint8[H, W, 3]"]),
        (lambda: wsss.walk(np.ones((1, 8, 8)), np.ones((2, 3, 8))), ["3 × 8"]),
        (lambda: wsss.walk(np.ones((1, 8, 8)), np.ones((2, 8, 8)), radius=0), ["radius"]),
        (lambda: wsss.mix(torch.ones(2, 3, 4, 4), torch.eye(2), kind="fmixx"), ["'fmix'"]),
        (lambda: wsss.mix(torch.ones(2, 3, 4, 4), torch.eye(3)), ["[2, 3, 4, 4] and [3, 3]"]),
        (lambda: wsss.cams(None, [photo(4, 4)], [[0]], head="subcategories"), ["wsss.cams", "`head`"]),
        (lambda: wsss.score([], []), ["0 masks"]),
        (lambda: wsss.score([np.zeros((2, 2), int)], [np.full((2, 2), 300)]), ["300", "0 to 255"]),
        (lambda: wsss.score([np.zeros((2, 2))], [np.zeros((2, 2), int)]), ["float64[2, 2]"]),
        (lambda: wsss.score(["no.png"], [np.zeros((2, 2), int)]), ["no.png"]),
    ],
)
def test_what_does_not_fit_is_said_in_one_message(call: object, words: list[str]) -> None:
    with pytest.raises((ConfigError, DataError)) as error:
        call()  # type: ignore[operator]
    assert all(word in str(error.value) for word in words), str(error.value)


def test_scores_are_those_of_a_count_by_hand(tmp_path: Path) -> None:
    truth = [np.array([[0, 1, 255], [2, 2, 0]], np.uint8), np.array([[0, 0], [1, 1]], np.uint8)]
    masks = [np.array([[0, 1, 1], [2, 0, 0]]), np.array([[0, 1], [1, 1]])]
    Image.fromarray(truth[0]).save(tmp_path / "truth.png")
    found = wsss.score(masks, [tmp_path / "truth.png", truth[1]], classes=["cat", "dog"])
    # background: 3 of 3 + 1 + 1; cat: 3 of 4; dog: 1 of 2
    assert found.iou == pytest.approx({"background": 3 / 5, "cat": 3 / 4, "dog": 1 / 2})
    assert found.miou == pytest.approx((3 / 5 + 3 / 4 + 1 / 2) / 3)
    assert found.low <= found.miou <= found.high
    assert list(wsss.score(masks, truth).iou) == ["background", "1", "2"]
