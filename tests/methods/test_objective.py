"""The objective is the sum of its parts, on the mixed batch."""

from __future__ import annotations

import pytest
import torch

from wsss.config.params import ClassifierParams, MixingParams
from wsss.methods.mixing import Mixer
from wsss.methods.objective import Objective
from wsss.methods.regularisers import classification_loss, concentration, entropy

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


def test_entropy_looks_at_predictions_so_its_gradient_reaches_the_logits() -> None:
    logits = LOGITS.clone().requires_grad_()
    _, terms = objective(entropy=1.0)(logits, None, MIXED)
    (gradient,) = torch.autograd.grad(terms["entropy"], logits)
    assert (gradient.abs() > 0).all()
