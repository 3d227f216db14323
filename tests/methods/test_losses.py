"""The classification loss and both regularisers against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from wsss.methods.losses import classification_loss, concentration, entropy, mask_loss


def test_undecided_logits_lose_ln_2_whatever_the_labels() -> None:
    for labels in (torch.zeros(3, 20), torch.ones(3, 20), torch.rand(3, 20)):
        assert float(classification_loss(torch.zeros(3, 20), labels)) == pytest.approx(math.log(2), abs=1e-6)


def test_the_classification_loss_is_binary_cross_entropy_per_class() -> None:
    logits, labels = torch.tensor([[1.0, -2.0]]), torch.tensor([[1.0, 0.25]])
    p = [1 / (1 + math.exp(-z)) for z in (1.0, -2.0)]
    expected = -(math.log(p[0]) + 0.25 * math.log(p[1]) + 0.75 * math.log(1 - p[1])) / 2
    assert float(classification_loss(logits, labels)) == pytest.approx(expected, abs=1e-6)


def test_bernoulli_entropy_is_largest_at_logit_0() -> None:
    assert float(entropy(torch.zeros(2, 20))) == pytest.approx(0.693127, abs=1e-5)
    values = [float(entropy(torch.full((1, 1), z))) for z in (-3.0, -1.0, -0.1, 0.0, 0.1, 1.0, 3.0)]
    assert max(values) == values[3]
    assert values == pytest.approx(values[::-1], abs=1e-6)


def test_softmax_entropy_of_20_equal_classes_is_ln_20() -> None:
    assert float(entropy(torch.full((2, 20), 1.7), "softmax")) == pytest.approx(2.995732, abs=1e-5)
    sure = torch.zeros(1, 20)
    sure[0, 3] = 100
    assert float(entropy(sure, "softmax")) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("size", [40.0, 200.0, 1e4])
def test_sure_predictions_have_no_entropy(size: float) -> None:
    logits = torch.tensor([[size, -size, size]])
    assert float(entropy(logits)) == pytest.approx(0, abs=2e-5)


@pytest.mark.parametrize("z", [1.3, -0.4, 2.0])
def test_the_gradient_of_entropy_is_what_analysis_says_and_not_zero(z: float) -> None:
    p = 1 / (1 + math.exp(-z))
    one = torch.tensor([[z]], requires_grad=True)
    entropy(one).backward()
    assert float(one.grad) == pytest.approx(-z * p * (1 - p), abs=3e-4)  # type: ignore[arg-type]
    batch = torch.full((4, 20), z, requires_grad=True)
    entropy(batch).backward()
    assert batch.grad is not None
    assert batch.grad.flatten().tolist() == pytest.approx([-z * p * (1 - p) / 80] * 80, abs=1e-5)


def test_the_gradient_of_entropy_at_a_logit_of_1_3() -> None:
    one = torch.tensor([[1.3]], requires_grad=True)
    entropy(one).backward()
    assert float(one.grad) == pytest.approx(-0.218788, abs=3e-4)  # type: ignore[arg-type]


def test_the_entropy_of_labels_is_a_constant_that_teaches_nothing() -> None:
    """What a known implementation computed: the entropy of the label vectors, not of the predictions."""
    labels = torch.zeros(5, 20)
    labels[torch.arange(5), torch.arange(5)] = 1
    assert float(entropy(labels)) == pytest.approx(0.6876, abs=1e-4)
    one = float(entropy(labels[:1]))
    assert one == pytest.approx(float(entropy(labels[1:2])), abs=1e-7)
    assert not entropy(labels).requires_grad


def maps(values: list[list[float]]) -> torch.Tensor:
    return torch.tensor(values)[None, None]


PRESENT = torch.ones(1, 1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[0, 0, 0], [0, 1e6, 0], [0, 0, 0]], 0),
        ([[1e6, 0], [0, 1e6]], 0.5),
        ([[0, 0, 0], [0, 3e6, 1e6], [0, 0, 0]], 0.1875),
        ([[0, 0, 0], [0, 3e6, 0], [0, 1e6, 0]], 0.1875),
    ],
)
def test_concentration_in_pixels_worked_out_by_hand(values: list[list[float]], expected: float) -> None:
    assert float(concentration(maps(values), PRESENT, "pixel")) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("size", "expected"), [(4, 2.5), (28, 130.5), (38, 240.5), (56, 522.5)])
def test_concentration_in_pixels_of_a_uniform_map(size: int, expected: float) -> None:
    assert float(concentration(torch.ones(1, 1, size, size), PRESENT, "pixel")) == pytest.approx(
        expected, rel=1e-5
    )


@pytest.mark.parametrize(("size", "expected"), [(4, 0.625), (38, 0.6662)])
def test_concentration_in_scops_coordinates(size: int, expected: float) -> None:
    uniform = torch.ones(1, 1, size, size)
    found = float(concentration(uniform, PRESENT, "scops"))
    assert found == pytest.approx(expected, abs=1e-4)
    pixel = float(concentration(uniform, PRESENT, "pixel"))
    assert pixel / found == pytest.approx((size / 2) ** 2, rel=1e-4)


@pytest.mark.parametrize("size", [8, 14, 28, 38, 56])
def test_concentration_in_the_unit_square_is_as_strong_at_every_size_of_map(size: int) -> None:
    weighted = 0.27 * float(concentration(torch.ones(1, 1, size, size), PRESENT, "unit"))
    assert 0.0465 < weighted < 0.058
    assert weighted == pytest.approx(0.27 * (size + 1) / (size - 1) / 6, rel=1e-4)
    in_pixels = 2e-4 * float(concentration(torch.ones(1, 1, size, size), PRESENT, "pixel"))
    assert in_pixels == pytest.approx(2e-4 * (size**2 - 1) / 6, rel=1e-4), "switched off on small maps"


@pytest.mark.parametrize("coordinates", ["unit", "pixel", "scops"])
def test_concentration_ignores_where_the_mass_is_and_how_much(coordinates: str) -> None:
    blob = 1e5 * torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    here, there = torch.zeros(1, 1, 12, 12), torch.zeros(1, 1, 12, 12)
    here[0, 0, 1:4, 2:6] = blob
    there[0, 0, 7:10, 5:9] = blob
    values = [
        float(concentration(m, PRESENT, coordinates))  # type: ignore[arg-type]
        for m in (here, there, 30 * here)
    ]
    assert values == pytest.approx([values[0]] * 3, rel=1e-4)


@pytest.mark.parametrize("coordinates", ["unit", "pixel", "scops"])
def test_maps_need_not_be_square(coordinates: str) -> None:
    wide = torch.rand(2, 3, 5, 9, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    found = concentration(wide, labels, coordinates)  # type: ignore[arg-type]
    turned = concentration(wide.transpose(2, 3), labels, coordinates)  # type: ignore[arg-type]
    assert found.shape == (2,)
    torch.testing.assert_close(found, turned)


def test_only_classes_that_are_present_count_and_linearly() -> None:
    cams = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    each = [float(concentration(cams, torch.eye(3)[k : k + 1])) for k in range(3)]
    found = float(concentration(cams, torch.tensor([[0.25, 0.0, 1.0]])))
    assert found == pytest.approx(0.25 * each[0] + each[2], rel=1e-5)
    assert float(concentration(cams, torch.zeros(1, 3))) == 0


def test_negative_evidence_is_no_mass() -> None:
    cams = maps([[5e5, -9e9], [0, 5e5]])
    assert float(concentration(cams, PRESENT, "pixel")) == pytest.approx(0.5, abs=1e-5)


def test_a_step_against_the_gradient_concentrates_a_map() -> None:
    cams = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    before = concentration(cams, PRESENT).sum()
    before.backward()
    assert cams.grad is not None
    after = concentration(cams.detach() - 5 * cams.grad, PRESENT).sum()
    assert after.item() < before.item()


def test_legacy_concentration_is_switched_off_by_its_softmax() -> None:
    """On a blob of CAM among 20 classes its gradient is 10^3 and more below that of pixel units."""
    y, x = torch.meshgrid(torch.arange(38.0), torch.arange(38.0), indexing="ij")
    blob = 3 * torch.exp(-((x - 12) ** 2 + (y - 20) ** 2) / (2 * 6**2))
    labels = torch.zeros(1, 20)
    labels[0, 4] = 1

    def gradient(coordinates: str) -> float:
        cams = torch.zeros(1, 20, 38, 38)
        cams[0, 4] = blob
        cams.requires_grad_()
        concentration(cams, labels, coordinates).sum().backward()  # type: ignore[arg-type]
        assert cams.grad is not None
        return float(cams.grad.norm())

    assert gradient("pixel") / gradient("legacy") > 300
    uniform = float(concentration(torch.zeros(1, 20, 38, 38), labels, "legacy"))
    assert uniform == pytest.approx(0.666, abs=1e-3)


def test_the_mask_loss_is_binary_cross_entropy_at_the_middle_of_each_cell() -> None:
    maps = torch.tensor([[[[2.0, -1.0]], [[0.5, 3.0]]]])  # 2 classes on 1 × 2 cells
    masks = torch.full((1, 4, 8), 255, dtype=torch.uint8)
    masks[:, :, :4] = 1  # the first cell shows class 0
    logs = math.log1p(math.exp(-2.0)) + math.log1p(math.exp(0.5))
    assert float(mask_loss(maps, masks)) == pytest.approx(logs / 2, abs=1e-6)
    masks[:, :, 4:] = 0  # the second cell is background
    more = math.log1p(math.exp(-1.0)) + math.log1p(math.exp(3.0))
    assert float(mask_loss(maps, masks)) == pytest.approx((logs + more) / 4, abs=1e-6)
    assert float(mask_loss(maps, torch.full((1, 4, 8), 255, dtype=torch.uint8))) == 0


def test_the_gradient_of_the_mask_loss_agrees_with_differences() -> None:
    masks = torch.randint(0, 4, (2, 6, 6), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    masks[0, :2] = 255
    maps = torch.randn(2, 3, 3, 3, generator=torch.Generator().manual_seed(1), requires_grad=True)
    mask_loss(maps, masks).backward()
    assert maps.grad is not None
    step = torch.zeros_like(maps)
    step[1, 2, 1, 0] = 1e-2
    with torch.no_grad():
        difference = float(mask_loss(maps + step, masks) - mask_loss(maps - step, masks)) / 2e-2
    assert float(maps.grad[1, 2, 1, 0]) == pytest.approx(difference, rel=2e-3)
