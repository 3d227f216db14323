"""Networks with folded normalisation give what they gave before, and have none left that follows a convolution."""

from __future__ import annotations

import copy
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from wsss.models import Backbone, CamNetwork, Tap, create_backbone
from wsss.models.computing.folding import fold_norms

LEFT = {"resnet50": 0, "mobilenet_v2": 0, "efficientnet_lite0": 0, "resnet38": 17}
"""Normalisations that read sums, of a pre-activated network."""


def norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def unsettled(network: nn.Module) -> None:
    """Give every normalisation statistics of its own, as trained ones have."""
    torch.manual_seed(1)
    for norm in norms(network):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0, 0.1)
        nn.init.normal_(norm.running_mean, 0, 0.1)
        nn.init.uniform_(norm.running_var, 0.5, 2)


@pytest.mark.parametrize("name", LEFT)
@torch.inference_mode()
def test_a_folded_backbone_gives_the_same_features_at_every_tap(name: str) -> None:
    torch.manual_seed(0)
    backbone = create_backbone(name, "none").eval()
    unsettled(backbone)
    folded = copy.deepcopy(backbone)
    fold_norms(folded)
    assert len(norms(folded)) == LEFT[name]
    x = torch.randn(1, 3, 17, 25)
    expected, found = (one.forward_readings(x, [tap.name for tap in one.taps]) for one in (backbone, folded))
    for tap, features in expected.items():
        assert (found[tap] - features).abs().max() <= 2e-5 * features.abs().max(), tap


def test_a_dense_network_is_folded_as_well() -> None:
    backbone = create_backbone("mobilenet_v2", "none", dense=True).eval()
    fold_norms(backbone)
    assert not norms(backbone)


class Twice(Backbone):
    """The sum of a convolution and of its normalisation: the convolution must stay as it is."""

    name: ClassVar[str] = "twice"
    channels: ClassVar[int] = 4
    stride: ClassVar[int] = 1
    taps: ClassVar[tuple[Tap, ...]] = (Tap("all", 4, 1),)
    default_freeze: ClassVar[str] = "none"

    def __init__(self) -> None:
        super().__init__()
        self.body = Sum()

    def segments(self) -> list[nn.Module]:
        return [self.body]

    def load_weights(self, weights: str) -> None:
        raise AssertionError


class Sum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.convolution(x)
        return y + self.norm(y)


@torch.inference_mode()
def test_a_convolution_that_others_read_too_is_left_alone() -> None:
    backbone = Twice().eval()
    unsettled(backbone)
    x = torch.randn(1, 3, 8, 8)
    before = backbone(x)
    fold_norms(backbone)
    assert len(norms(backbone)) == 1 and torch.equal(backbone(x), before)


@pytest.mark.parametrize("name", ["timm/vit_tiny_patch16_224", "timm/resnet18"])
@torch.inference_mode()
def test_a_network_of_timms_that_looks_at_its_input_stays_as_it_is(name: str) -> None:
    network = CamNetwork(create_backbone(name, "none"), 2).eval()
    x = torch.randn(1, 3, 32, 32)
    before = network.cam(x)
    fold_norms(network)
    assert torch.equal(network.cam(x), before)
