"""Mixing batches: which pixels, which labels, which weight, from which generator."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn.functional import multilabel_soft_margin_loss

from wsss.config.params.stages import MixingParams
from wsss.methods.mixing import Mixer, unmixed

IMAGES = torch.rand(6, 3, 24, 32, generator=torch.Generator().manual_seed(1))
LABELS = torch.eye(6)


def mix(seed: int = 0, **params: object):  # type: ignore[no-untyped-def]
    return Mixer(MixingParams.model_validate(params)).mix(IMAGES, LABELS, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("per_sample", [False, True])
def test_mixup_is_the_weighted_mean_of_two_images_and_of_their_labels(per_sample: bool) -> None:
    found = mix(kind="mixup", alpha=1.0, per_sample=per_sample)
    for n, m in enumerate(found.permutation.tolist()):
        weight = float(found.weight[n])
        assert 0 <= weight <= 1
        torch.testing.assert_close(found.images[n], weight * IMAGES[n] + (1 - weight) * IMAGES[m])
        torch.testing.assert_close(found.labels[n], weight * LABELS[n] + (1 - weight) * LABELS[m])
    assert torch.equal(found.labels_b, LABELS[found.permutation])
    assert (found.weight.unique().numel() > 1) is per_sample


@pytest.mark.parametrize("per_sample", [False, True])
def test_every_pixel_of_an_fmix_image_comes_from_exactly_one_source(per_sample: bool) -> None:
    found = mix(kind="fmix", alpha=1.0, per_sample=per_sample)
    other = IMAGES[found.permutation]
    first = (found.images == IMAGES).all(1)
    second = (found.images == other).all(1)
    moved = found.permutation != torch.arange(6)
    assert (first | second).all()
    assert not (first & second)[moved].any()


def test_fmix_weighs_labels_with_the_share_of_pixels_that_was_really_mixed() -> None:
    found = mix(kind="fmix", alpha=1.0, per_sample=True, seed=3)
    first = (found.images == IMAGES).all(1).float().mean(dim=(1, 2))
    moved = found.permutation != torch.arange(6)
    torch.testing.assert_close(found.weight[moved], first[moved])
    expected = found.weight[:, None] * LABELS + (1 - found.weight[:, None]) * LABELS[found.permutation]
    torch.testing.assert_close(found.labels, expected)


def test_one_mask_is_shared_by_the_batch_unless_every_image_gets_its_own() -> None:
    def masks(per_sample: bool) -> int:
        found = mix(kind="fmix", alpha=1.0, per_sample=per_sample)
        first = (found.images == IMAGES).all(1)[found.permutation != torch.arange(6)]
        return len(torch.unique(first.flatten(1), dim=0))

    assert masks(False) == 1
    assert masks(True) > 1


@pytest.mark.parametrize(("alpha", "variance"), [(0.2, 0.17857), (1.0, 0.08333)])
def test_the_weight_has_the_moments_of_its_beta_distribution(alpha: float, variance: float) -> None:
    tiny, mixer = torch.zeros(2, 3, 1, 1), Mixer(MixingParams(kind="mixup", alpha=alpha))
    generator = torch.Generator().manual_seed(0)
    weights = [float(mixer.mix(tiny, torch.zeros(2, 1), generator).weight[0]) for _ in range(6000)]
    assert np.mean(weights) == pytest.approx(0.5, abs=0.02)
    assert np.var(weights) == pytest.approx(variance, rel=0.05)
    assert 1 / (4 * (2 * alpha + 1)) == pytest.approx(variance, abs=1e-5)
    assert stats.kstest(weights, stats.beta(alpha, alpha).cdf).pvalue > 1e-3


@pytest.mark.parametrize("kind", ["mixup", "fmix"])
def test_the_share_of_mixed_batches_is_the_probability(kind: str) -> None:
    mixer = Mixer(MixingParams.model_validate({"kind": kind, "probability": 0.3}))
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.rand(4, 3, 4, 4), torch.zeros(4, 2)
    results = [mixer.mix(images, labels, generator) for _ in range(1000)]
    mixed = np.mean([result.images is not images for result in results])
    assert mixed == pytest.approx(0.3, abs=0.05)


def test_a_batch_that_is_not_mixed_is_left_alone() -> None:
    for found in (mix(kind="none"), mix(kind="mixup", probability=0.0), unmixed(IMAGES, LABELS)):
        assert found.images is IMAGES
        assert torch.equal(found.labels, LABELS)
        assert (found.weight == 1).all()


def test_equal_generators_mix_equally_and_others_do_not() -> None:
    for kind in ("mixup", "fmix"):
        assert torch.equal(mix(7, kind=kind).images, mix(7, kind=kind).images)
        assert not torch.equal(mix(7, kind=kind).images, mix(8, kind=kind).images)


def test_mixing_two_losses_is_the_loss_of_mixed_labels() -> None:
    logits = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    found = mix(kind="mixup", alpha=1.0)
    weight = float(found.weight[0])
    labels = weight * found.labels_a.double() + (1 - weight) * found.labels_b.double()
    two = weight * multilabel_soft_margin_loss(logits, found.labels_a.double())
    two += (1 - weight) * multilabel_soft_margin_loss(logits, found.labels_b.double())
    torch.testing.assert_close(two, multilabel_soft_margin_loss(logits, labels), atol=1e-7, rtol=0)


@pytest.mark.parametrize("kind", ["mixup", "fmix", "manifold"])
def test_the_control_draws_as_its_method_does_and_mixes_nothing(kind: str) -> None:
    images, labels = torch.rand(4, 3, 16, 16), torch.eye(4)
    control = Mixer(MixingParams(kind=kind, fixed=1.0)).mix(images, labels, torch.Generator().manual_seed(3))
    assert torch.equal(control.images, images)
    assert torch.equal(control.labels, labels)
    assert control.mix_features(images).equal(images)
    drawn = Mixer(MixingParams(kind=kind)).mix(images, labels, torch.Generator().manual_seed(3))
    assert torch.equal(drawn.permutation, control.permutation)


def test_a_fixed_weight_is_the_weight() -> None:
    images, labels = torch.rand(4, 3, 16, 16), torch.eye(4)
    half = Mixer(MixingParams(kind="mixup", fixed=0.5)).mix(images, labels, torch.Generator().manual_seed(3))
    assert half.weight.tolist() == [0.5] * 4
    torch.testing.assert_close(half.images, (images + images[half.permutation]) / 2)
