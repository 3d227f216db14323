"""Probabilities of whole photos: their size, their fusion over scales, their mirror image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate
from virtual_gpu import virtual_gpus

from wsss.config.params.stages import SegmentationCrfParams
from wsss.errors import DataError, StageError
from wsss.masks.crf import dense_crf, probabilities_to_mask_with_crf
from wsss.masks.segmentation import label_batch, segment
from wsss.models import DeepLab, create_backbone


@pytest.fixture(scope="module")
def network() -> DeepLab:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return DeepLab(create_backbone("efficientnet_lite0", "package", dense=True), ["cat", "dog"]).eval()


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (50, 71, 3), dtype=np.uint8)


def test_labels_are_the_most_probable_on_either_device(network: DeepLab, photo: np.ndarray) -> None:
    expected = segment(network, photo, scales=(1.0, 0.5), flip=True, device="cpu").argmax(0)
    (here,) = label_batch(network, [photo], scales=(1.0, 0.5), flip=True, device="cpu")
    assert np.array_equal(here, expected) and here.dtype == np.uint8
    with virtual_gpus() as card:
        copy = load_copy(network).to("cuda")
        (there,) = label_batch(copy, [photo], scales=(1.0, 0.5), flip=True, device="cuda")
        assert card.waits <= 2, "whether all is finite, and the labels"
    assert np.array_equal(there, expected) and there.dtype == np.uint8


def load_copy(network: DeepLab) -> DeepLab:
    other = DeepLab(create_backbone("efficientnet_lite0", "none", dense=True), network.classes)
    other.load_state_dict(network.state_dict())
    return other.eval()


def shown(network: DeepLab, photo: np.ndarray) -> torch.Tensor:
    pixels = torch.from_numpy(photo).permute(2, 0, 1)[None].float() / 255
    return (pixels - torch.tensor(network.mean).view(1, 3, 1, 1)) / torch.tensor(network.std).view(1, 3, 1, 1)


def test_probabilities_have_the_photos_size_and_sum_to_1(network: DeepLab, photo: np.ndarray) -> None:
    found = segment(network, photo, scales=(1.0, 0.5), flip=True, device="cpu")
    assert found.shape == (3, 50, 71) and found.dtype == np.float32
    assert np.allclose(found.sum(0), 1, atol=1e-5)


def test_it_is_the_softmax_of_the_largest_logits_of_all_scales(network: DeepLab, photo: np.ndarray) -> None:
    x = shown(network, photo)
    with torch.no_grad():
        one = network.logits(x)
        half = network.logits(interpolate(x, (25, 35), mode="bilinear", align_corners=False))
        half = interpolate(half, one.shape[2:], mode="bilinear", align_corners=False)
        logits = interpolate(torch.maximum(one, half), (50, 71), mode="bilinear", align_corners=False)
    found = segment(network, photo, scales=(1.0, 0.5), flip=False, device="cpu")
    assert np.allclose(found, logits[0].softmax(0).numpy(), atol=1e-5)


def test_with_flip_a_mirrored_photo_has_the_mirrored_answer(network: DeepLab, photo: np.ndarray) -> None:
    options = {"scales": (1.0,), "flip": True, "device": "cpu"}
    found = segment(network, photo, **options)  # type: ignore[arg-type]
    mirrored = segment(network, photo[:, ::-1], **options)  # type: ignore[arg-type]
    assert np.allclose(found, mirrored[:, :, ::-1], atol=1e-5)
    alone = segment(network, photo, scales=(1.0,), flip=False, device="cpu")
    assert not np.allclose(found, alone, atol=1e-4)


def test_wrong_photos_and_diverged_networks_are_said(network: DeepLab, photo: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"float64\[50, 71, 3\], but must be uint8"):
        segment(network, photo / 255, scales=(1.0,), flip=False, device="cpu")
    broken = DeepLab(create_backbone("efficientnet_lite0", "none", dense=True), ["cat"]).eval()
    head = broken.aspp.c0
    assert isinstance(head, nn.Conv2d)
    nn.init.constant_(head.weight, float("nan"))
    with pytest.raises(StageError, match="diverged"):
        segment(broken, photo, scales=(1.0,), flip=False, device="cpu")


def test_leaving_impossible_classes_out_of_a_crf_changes_no_mask() -> None:
    random = np.random.default_rng(1)
    rgb = random.integers(0, 256, (24, 30, 3), dtype=np.uint8)
    scores = random.random((6, 24, 30)).astype(np.float32)
    scores[[2, 5]] *= 5e-4
    scores /= scores.sum(0)
    params = SegmentationCrfParams()
    assert (params.bilateral_sigma, params.bilateral_color_sigma, params.bilateral_weight) == (67, 3, 4)
    assert (params.gaussian_sigma, params.gaussian_weight, params.iterations) == (1, 3, 10)
    found = probabilities_to_mask_with_crf(rgb, scores, params)
    assert set(np.unique(found)) <= {0, 1, 3, 4}
    assert np.mean(found == dense_crf(rgb, scores, params).argmax(0)) > 0.99
