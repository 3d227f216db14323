"""Segmentation losses by hand, whole and in parts, and their gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from wsss.config.params.stages import SegmentationLossParams
from wsss.methods.pixel_loss import SegmentationLoss, labels_at, pyramid_loss

KINDS = ("cross_entropy", "balanced", "bootstrapped")


def loss_of(kind: str, trust: float = 0.8) -> SegmentationLoss:
    return SegmentationLoss(SegmentationLossParams.model_validate({"kind": kind, "trust": trust}))


def whole(loss: SegmentationLoss, logits: Tensor, labels: Tensor) -> Tensor:
    return loss(logits, labels, loss.counts(labels))


def pixels() -> tuple[Tensor, Tensor]:
    """Four pixels: background, class 1, class 2 and one that is ignored."""
    logits = torch.tensor([[2.0, 0, 0], [0, 1, 0], [3, 0, 0], [0, 0, 50]]).T.reshape(1, 3, 2, 2)
    return logits, torch.tensor([[[0, 1], [2, 255]]])


def minus_log_p(logits: list[float], label: int) -> float:
    return math.log(sum(math.exp(value) for value in logits)) - logits[label]


def test_cross_entropy_is_the_mean_over_pixels_with_a_label() -> None:
    own = [minus_log_p([2, 0, 0], 0), minus_log_p([0, 1, 0], 1), minus_log_p([3, 0, 0], 2)]
    assert float(whole(loss_of("cross_entropy"), *pixels())) == pytest.approx(sum(own) / 3)


def test_balanced_is_the_mean_of_background_and_classes() -> None:
    background = minus_log_p([2, 0, 0], 0)
    classes = (minus_log_p([0, 1, 0], 1) + minus_log_p([3, 0, 0], 2)) / 2
    assert float(whole(loss_of("balanced"), *pixels())) == pytest.approx((background + classes) / 2)


def test_balanced_without_background_is_the_mean_over_classes() -> None:
    logits, labels = pixels()
    labels[labels == 0] = 255
    classes = (minus_log_p([0, 1, 0], 1) + minus_log_p([3, 0, 0], 2)) / 2
    assert float(whole(loss_of("balanced"), logits, labels)) == pytest.approx(classes)


def test_bootstrapped_trusts_the_networks_own_answer_for_the_rest() -> None:
    given = [minus_log_p([2, 0, 0], 0), minus_log_p([0, 1, 0], 1), minus_log_p([3, 0, 0], 2)]
    own = [minus_log_p([2, 0, 0], 0), minus_log_p([0, 1, 0], 1), minus_log_p([3, 0, 0], 0)]
    expected = sum(0.7 * a + 0.3 * b for a, b in zip(given, own, strict=True)) / 3
    assert float(whole(loss_of("bootstrapped", 0.7), *pixels())) == pytest.approx(expected)
    cross = float(whole(loss_of("cross_entropy"), *pixels()))
    assert float(whole(loss_of("bootstrapped", 1.0), *pixels())) == pytest.approx(cross)


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_known_label_it_is_0_with_gradients_of_0(kind: str) -> None:
    logits = torch.randn(2, 4, 3, 3, requires_grad=True)
    loss = whole(loss_of(kind), logits, torch.full((2, 3, 3), 255))
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad is not None and not bool(logits.grad.any())


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_right(kind: str) -> None:
    torch.manual_seed(0)
    labels = torch.randint(0, 4, (2, 3, 4))
    labels[0, 0] = 255
    logits = torch.randn(2, 4, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: whole(loss_of(kind), x, labels), (logits,))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("parts", [2, 3, 5])
def test_parts_with_unequal_numbers_of_labels_add_up_to_the_whole(kind: str, parts: int) -> None:
    torch.manual_seed(1)
    logits = torch.randn(5, 4, 6, 6, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 4, (5, 6, 6))
    labels[1], labels[2, :3], labels[4, 1:] = 255, 255, 255
    loss = loss_of(kind)
    counts = loss.counts(labels)
    (expected,) = torch.autograd.grad(loss(logits, labels, counts), logits)
    pieces = zip(logits.tensor_split(parts), labels.tensor_split(parts), strict=True)
    total = torch.stack([loss(part, truth, counts) for part, truth in pieces]).sum()
    (found,) = torch.autograd.grad(total, logits)
    assert torch.allclose(total, loss(logits, labels, counts))
    assert torch.allclose(found, expected)


def test_labels_are_those_nearest_to_the_centres_of_cells() -> None:
    labels = torch.arange(7 * 10, dtype=torch.uint8).reshape(1, 7, 10)
    small = labels_at(labels, (3, 4))
    for row in range(3):
        for column in range(4):
            y, x = int((row + 0.5) * 7 / 3), int((column + 0.5) * 10 / 4)
            assert int(small[0, row, column]) == int(labels[0, y, x])


def test_a_pyramid_is_compared_level_by_level_each_with_its_own_labels() -> None:
    torch.manual_seed(2)
    labels = torch.randint(0, 3, (2, 16, 16), dtype=torch.uint8)
    labels[0, :, :9] = 255
    pyramid = [torch.randn(2, 3, size, size) for size in (8, 6, 4, 8)]
    loss = loss_of("cross_entropy")
    counts = torch.stack([loss.counts(labels_at(labels, level.shape[2:])) for level in pyramid])
    expected = sum(
        torch.nn.functional.cross_entropy(level, labels_at(labels, level.shape[2:]), ignore_index=255)
        for level in pyramid
    )
    assert float(pyramid_loss(loss, pyramid, labels, counts)) == pytest.approx(float(expected), rel=1e-6)
