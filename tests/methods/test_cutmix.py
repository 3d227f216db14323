"""CutMix against boxes worked out by hand, and against torchvision's."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from wsss.config.params.methods import expand_method
from wsss.config.params.stages import MixingParams
from wsss.config.parts import MIXINGS
from wsss.methods.mixing import Mixer
from wsss.models.backbones.torchvision_cpu import transforms

IMAGES = torch.rand(4, 3, 12, 20, generator=torch.Generator().manual_seed(1))
LABELS = torch.eye(4)


def box_of(weight: float, size: tuple[int, int], middle: tuple[int, int]) -> list[list[int]]:
    """Return where the other image is, row by row, when the generator draws this middle."""
    drawn = mock.Mock(integers=mock.Mock(side_effect=middle))
    share = MIXINGS["cutmix"].shares(MixingParams(kind="cutmix"), size, np.array([weight]), drawn)
    return (1 - share[0]).astype(int).tolist()  # type: ignore[no-any-return]


def test_a_box_has_the_images_proportions_and_the_other_images_area() -> None:
    # 1 − λ = 1/4: half of each side, so 2 × 4 of 4 × 8 pixels around row 2, column 4.
    assert box_of(0.75, (4, 8), (2, 4)) == [
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 1, 1, 1, 1, 0, 0],
        [0, 0, 1, 1, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0],
    ]


def test_what_lies_outside_of_the_image_is_cut_off() -> None:
    assert box_of(0.75, (4, 4), (0, 3)) == [[0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize(("weight", "covered"), [(1.0, 0), (0.0, 16)])
def test_a_weight_of_1_leaves_the_image_and_of_0_takes_the_other_one(weight: float, covered: int) -> None:
    assert sum(map(sum, box_of(weight, (4, 4), (2, 2)))) == covered


@pytest.mark.parametrize("weight", [0.0, 0.13, 0.5, 0.77, 1.0])
@pytest.mark.parametrize("middle", [(0, 0), (5, 9), (11, 19), (3, 17)])
def test_boxes_are_torchvisions(weight: float, middle: tuple[int, int]) -> None:
    cutmix = transforms.CutMix(num_classes=4)
    cutmix._dist = mock.Mock(sample=mock.Mock(return_value=weight))
    row, column = (torch.tensor([place]) for place in middle)
    with mock.patch("torch.randint", side_effect=[column, row]):  # it draws the column first
        expected, labels = cutmix(IMAGES, torch.arange(4))
    box = torch.tensor(box_of(weight, (12, 20), middle)).bool()
    found = torch.where(box, IMAGES.roll(1, 0), IMAGES)
    assert torch.equal(found, expected)
    share = 1 - float(box.float().mean())
    torch.testing.assert_close(share * LABELS + (1 - share) * LABELS.roll(1, 0), labels)


def mix(seed: int, **params: Any) -> Any:
    mixer = Mixer(MixingParams.model_validate({"kind": "cutmix", "alpha": 1.0, **params}))
    return mixer.mix(IMAGES, LABELS, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_labels_are_weighted_with_the_pixels_that_are_left(seed: int, per_sample: bool) -> None:
    found = mix(seed, per_sample=per_sample)
    for n, m in enumerate(found.permutation.tolist()):
        own = (found.images[n] == IMAGES[n]).all(0)
        assert (own | (found.images[n] == IMAGES[m]).all(0)).all()
        if n != m:
            share = float(own.float().mean())
            assert float(found.weight[n]) == pytest.approx(share, abs=1e-6)
            torch.testing.assert_close(found.labels[n], share * LABELS[n] + (1 - share) * LABELS[m])


def test_the_control_mixes_nothing() -> None:
    found = mix(0, fixed=1.0)
    assert torch.equal(found.images, IMAGES) and torch.equal(found.labels, LABELS)


def test_the_method_is_mixing_alone_with_a_uniform_weight() -> None:
    assert expand_method({"method": "cutmix"}) == {"mixing": {"kind": "cutmix", "alpha": 1.0}}
