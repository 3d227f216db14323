"""The objective is the sum of its parts, on the mixed batch."""

from __future__ import annotations

import pytest
import torch

from wsss.config.params.stages import ClassifierParams, MixingParams
from wsss.methods.losses import classification_loss, concentration, entropy
from wsss.methods.mixing import Mixer
from wsss.methods.objective import Objective

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(4, 5, generator=GENERATOR)
CAMS = torch.randn(4, 5, 7, 6, generator=GENERATOR)
MIXED = Mixer(MixingParams(kind="mixup", alpha=1.0)).mix(
    torch.rand(4, 3, 8, 8), (torch.rand(4, 5, generator=GENERATOR) > 0.5).float(), GENERATOR
)


def objective(**weights: float) -> Objective:
    return Objective(
        ClassifierParams.model_validate({name: {"weight": value} for name, value in weights.items()})
    )


def test_plain_training_has_one_term_and_needs_no_maps() -> None:
    plain = objective()
    total, terms = plain(LOGITS, None, MIXED)
    assert not plain.needs_cams
    assert list(terms) == ["classification"]
    assert total.equal(classification_loss(LOGITS, MIXED.labels))


@pytest.mark.parametrize(("a", "b"), [(0.02, 0.27), (1.0, 0.0), (0.0, 3.0)])
def test_the_total_is_the_weighted_sum_of_its_terms(a: float, b: float) -> None:
    total, terms = objective(entropy=a, concentration=b)(LOGITS, CAMS, MIXED)
    expected = classification_loss(LOGITS, MIXED.labels) + a * entropy(LOGITS)
    expected = expected + b * concentration(CAMS, MIXED.labels).mean()
    torch.testing.assert_close(total, expected)
    assert set(terms) == {"classification"} | ({"entropy"} if a else set()) | (
        {"concentration"} if b else set()
    )


def test_concentration_of_a_mixed_batch_is_that_of_both_label_sets_on_the_same_maps() -> None:
    _, terms = objective(concentration=1.0)(LOGITS, CAMS, MIXED)
    a, b = concentration(CAMS, MIXED.labels_a), concentration(CAMS, MIXED.labels_b)
    expected = (MIXED.weight * a + (1 - MIXED.weight) * b).mean()
    torch.testing.assert_close(terms["concentration"], expected)


def test_shares_of_the_gradient_are_those_of_the_weighted_terms_at_the_features() -> None:
    features = torch.randn(4, 6, 7, 6, generator=torch.Generator().manual_seed(3)).requires_grad_()
    head = torch.randn(5, 6, generator=torch.Generator().manual_seed(4))
    maps = torch.einsum("bdhw,cd->bchw", features, head)
    whole = objective(entropy=0.5, concentration=2.0)
    _, terms = whole(maps.mean((2, 3)), maps, MIXED)
    found = whole.gradient_shares(terms, features)
    norms = {}
    for name, weight in (("classification", 1.0), ("entropy", 0.5), ("concentration", 2.0)):
        (gradient,) = torch.autograd.grad(terms[name], features, retain_graph=True)
        norms[name] = weight * gradient.norm().item()
    assert found == pytest.approx({name: norm / sum(norms.values()) for name, norm in norms.items()})
    assert all(share > 0 for share in found.values())
    assert whole.gradient_shares(terms, features.detach()) == {}


def test_entropy_of_labels_shows_as_a_share_of_nothing() -> None:
    features = torch.randn(4, 5, 7, 6).requires_grad_()
    whole = Objective(ClassifierParams.model_validate({"entropy": {"weight": 5.0, "of": "labels"}}))
    _, terms = whole(features.mean((2, 3)), None, MIXED)
    assert whole.gradient_shares(terms, features) == {"classification": 1.0, "entropy": 0.0}


@pytest.mark.parametrize("coordinates", ["unit", "scops"])
def test_the_share_of_concentration_does_not_depend_on_the_size_of_the_map(coordinates: str) -> None:
    """The same picture on a finer grid: with pixels for coordinates the share would grow by a factor of 16."""
    coarse = torch.rand(4, 5, 14, 14, generator=torch.Generator().manual_seed(5))
    params = {"concentration": {"weight": 0.3, "coordinates": coordinates}}
    whole = Objective(ClassifierParams.model_validate(params))
    shares = []
    for factor in (1, 4):
        maps = coarse.repeat_interleave(factor, 2).repeat_interleave(factor, 3).requires_grad_()
        _, terms = whole(maps.mean((2, 3)), maps, MIXED)
        shares.append(whole.gradient_shares(terms, maps)["concentration"])
    assert shares[0] == pytest.approx(shares[1], rel=0.2)
    assert 0.001 < shares[0] < 0.999


def test_entropy_looks_at_predictions_so_its_gradient_reaches_the_logits() -> None:
    logits = LOGITS.clone().requires_grad_()
    _, terms = objective(entropy=1.0)(logits, None, MIXED)
    (gradient,) = torch.autograd.grad(terms["entropy"], logits)
    assert (gradient.abs() > 0).all()
