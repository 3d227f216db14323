"""Distillation of sub-categories against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from wsss.config.params.stages import ClassifierParams, DistillationParams, MixingParams
from wsss.methods.distillation import subcategory_distillation
from wsss.methods.losses import classification_loss
from wsss.methods.mixing import Mixer, unmixed
from wsss.methods.objective import Objective

ONE = torch.ones(1, 1)
PARENT = torch.zeros(4, dtype=torch.int64)
STUDENT = torch.tensor([[1.0, -2.0, 0.5, 0.0]])
TEACHER = torch.tensor([[2.0, 0.0, -1.0, 0.3]])


def distil(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    parent = torch.zeros(student.shape[1], dtype=torch.int64)
    return subcategory_distillation(student, teacher, ONE, parent, temperature=temperature, scale=1.0)


@pytest.mark.parametrize(
    ("temperature", "loss", "gradient"),
    [(1, 0.3064, 0.3652), (2, 0.5411, 0.4804), (4, 0.6801, 0.5540), (8, 0.7496, 0.5956)],
)
def test_loss_and_gradient_at_several_temperatures(temperature: float, loss: float, gradient: float) -> None:
    student = STUDENT.clone().requires_grad_()
    found = distil(student, TEACHER, temperature)
    assert found.item() == pytest.approx(loss, abs=1e-4)
    found.sum().backward()
    assert student.grad is not None
    assert student.grad.norm().item() == pytest.approx(gradient, abs=1e-4)


@pytest.mark.parametrize(
    ("temperature", "shares"),
    [(1, (0.0900, 0.2447, 0.6652)), (2, (0.1863, 0.3065, 0.5065)), (4, (0.2543, 0.3265, 0.4192))],
)
def test_the_loss_is_the_divergence_of_softened_shares(temperature: float, shares: tuple[float, ...]) -> None:
    """Against a student that is equally sure of everything: KL = ln 3 − H(q)."""
    found = distil(torch.zeros(1, 3), torch.tensor([[1.0, 2.0, 3.0]]), temperature)
    expected = math.log(3) + sum(q * math.log(q) for q in shares)
    assert found.item() / temperature**2 == pytest.approx(expected, abs=2e-4)


def test_the_loss_is_zero_only_when_the_student_agrees() -> None:
    assert distil(TEACHER + 3.0, TEACHER, 2.0).item() == pytest.approx(0, abs=1e-6)
    assert distil(STUDENT, TEACHER, 2.0).item() > 0.1


def test_a_sure_teacher_is_a_hard_label() -> None:
    teacher = torch.tensor([[0.0, 50.0, 0.0, 0.0]])
    expected = -torch.log_softmax(STUDENT, 1)[0, 1]
    assert distil(STUDENT, teacher, 1.0).item() == pytest.approx(expected.item(), abs=1e-4)


def test_only_classes_that_are_present_count_and_each_for_itself() -> None:
    generator = torch.Generator().manual_seed(0)
    parent = torch.tensor([0, 0, 1, 2, 2, 2])
    logits, teacher = torch.randn(3, 6, generator=generator), torch.rand(3, 6, generator=generator)
    labels = torch.tensor([[1.0, 1, 0], [0, 0, 1], [0, 0, 0]])

    def one(row: int, columns: slice) -> float:
        q = torch.log_softmax(10 * teacher[row, columns] / 2, 0)
        p = torch.log_softmax(logits[row, columns] / 2, 0)
        return 4 * float((q.exp() * (q - p)).sum())

    expected = [(one(0, slice(0, 2)) + 0) / 2, one(1, slice(3, 6)), 0.0]  # alone in its class: no divergence
    found = subcategory_distillation(logits, teacher, labels, parent, temperature=2.0, scale=10.0)
    assert found.tolist() == pytest.approx(expected, abs=1e-5)


def test_a_class_that_is_absent_gets_no_gradient() -> None:
    parent = torch.tensor([0, 0, 1, 1])
    logits = torch.randn(2, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels = torch.tensor([[1.0, 0], [1, 0]])
    subcategory_distillation(
        logits, torch.rand(2, 4), labels, parent, temperature=2.0, scale=10.0
    ).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert (logits.grad[:, :2] != 0).all()
    assert (logits.grad[:, 2:] == 0).all()


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_objective_weighs_hard_labels_and_distillation(share: float) -> None:
    parent = torch.tensor([0, 0, 1])
    generator = torch.Generator().manual_seed(0)
    logits, sub_logits = torch.randn(2, 2, generator=generator), torch.randn(2, 3, generator=generator)
    classes = torch.tensor([[1.0, 0], [1, 1]])
    subs = torch.tensor([[1.0, 0, 0], [0, 1, 1]])
    similarity = torch.rand(2, 3, generator=generator)
    mixed = unmixed(torch.zeros(2, 3, 4, 4), torch.cat([classes, subs, similarity], 1))
    params = ClassifierParams(
        subcategory_weight=3.0, distillation=DistillationParams(weight=share, temperature=4.0)
    )
    total, terms = Objective(params, parent)(logits, None, mixed, sub_logits)
    hard = classification_loss(sub_logits, subs)
    soft = subcategory_distillation(
        sub_logits, similarity, classes, parent, temperature=4.0, scale=10.0
    ).mean()
    expected = classification_loss(logits, classes) + 3 * ((1 - share) * hard + share * soft)
    torch.testing.assert_close(total, expected)
    assert ("distillation" in terms) is (share > 0)
    assert ("subcategories" in terms) is (share < 1)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_on_a_mixed_batch_both_images_teach_with_their_weights(share: float) -> None:
    parent = torch.tensor([0, 0, 1, 1])
    generator = torch.Generator().manual_seed(1)
    classes = torch.tensor([[1.0, 0], [0, 1], [1, 1]])
    subs = torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 1], [0, 1, 1, 0]])
    similarity, sub_logits = (torch.randn(3, 4, generator=generator) for _ in range(2))
    labels = torch.cat([classes, subs, similarity], 1)
    mixer = Mixer(MixingParams(kind="mixup", alpha=2.0, per_sample=True))
    mixed = mixer.mix(torch.zeros(3, 3, 4, 4), labels, torch.Generator().manual_seed(3))
    assert (mixed.permutation != torch.arange(3)).any() and not torch.allclose(mixed.weight, mixed.weight[:1])
    params = ClassifierParams(subcategory_weight=1.0, distillation=DistillationParams(weight=share))
    _, terms = Objective(params, parent)(torch.zeros(3, 2), None, mixed, sub_logits)
    expected = 0.0
    for row, other in enumerate(mixed.permutation.tolist()):
        for owner, weight in ((row, float(mixed.weight[row])), (other, 1 - float(mixed.weight[row]))):
            z = sub_logits[row : row + 1]
            hard = classification_loss(z, subs[owner : owner + 1])
            soft = subcategory_distillation(
                z,
                similarity[owner : owner + 1],
                classes[owner : owner + 1],
                parent,
                temperature=2.0,
                scale=10.0,
            )
            expected += weight * float(soft if share else hard) / 3
    assert float(terms["distillation" if share else "subcategories"]) == pytest.approx(expected, rel=1e-5)


def test_one_sub_category_a_class_makes_both_losses_the_same() -> None:
    logits = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[1.0, 0], [0, 1], [1, 1]])
    mixed = unmixed(torch.zeros(3, 3, 4, 4), torch.cat([labels, labels, torch.ones(3, 2)], 1))
    _, terms = Objective(ClassifierParams(subcategory_weight=1.0), torch.tensor([0, 1]))(
        logits, None, mixed, logits
    )
    torch.testing.assert_close(terms["subcategories"], terms["classification"])
