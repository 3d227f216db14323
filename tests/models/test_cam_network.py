"""The CAM network: its maps average to its logits, its head is fresh, dropout never reaches a map."""

from __future__ import annotations

import math
from typing import ClassVar

import pytest
import torch
from torch import nn

from wsss.errors import ConfigError
from wsss.models import Backbone, CamNetwork, Tap, create_backbone
from wsss.models.networks.cam_net import SubcategoryMaps


class Tiny(Backbone):
    name: ClassVar[str] = "tiny"
    channels: ClassVar[int] = 6
    stride: ClassVar[int] = 4
    taps: ClassVar[tuple[Tap, ...]] = (Tap("only", 6, 4),)
    default_freeze: ClassVar[str] = "none"

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 5, stride=4, padding=2), nn.ReLU())

    def segments(self) -> list[nn.Module]:
        return [self.body]

    def load_weights(self, weights: str) -> None:
        raise AssertionError("has none")


@pytest.mark.parametrize("size", [(16, 16), (17, 40), (5, 3)])
def test_maps_average_to_the_logits_at_any_size(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = CamNetwork(Tiny(), 5).double()
    x = torch.randn(3, 3, *size, dtype=torch.float64)
    output = network(x)
    assert output.logits.shape == (3, 5)
    assert torch.allclose(network.cam(x).mean((2, 3)), output.logits, atol=1e-12)
    assert torch.equal(network.maps(output.features), network.cam(x))


def test_maps_of_a_real_backbone_average_to_the_logits_in_float32() -> None:
    torch.manual_seed(0)
    network = CamNetwork(create_backbone("efficientnet_lite0", "package"), 20).eval()
    x = torch.randn(2, 3, 96, 64)
    with torch.no_grad():
        assert torch.allclose(network.cam(x).mean((2, 3)), network(x).logits, atol=1e-4)
        fast = network.to(memory_format=torch.channels_last)
        again = fast.cam(x.to(memory_format=torch.channels_last))
        assert torch.allclose(again, network.cam(x), atol=1e-4)


def test_maps_are_not_rectified() -> None:
    torch.manual_seed(0)
    assert (CamNetwork(Tiny(), 5).cam(torch.randn(2, 3, 32, 32)) < 0).any()


def test_the_head_is_a_bias_free_xavier_convolution() -> None:
    torch.manual_seed(0)
    network = CamNetwork(create_backbone("mobilenet_v2", "none"), 20)
    assert network.head.bias is None
    assert network.head.weight.shape == (20, 1280, 1, 1)
    bound = math.sqrt(6 / (1280 + 20))
    values = network.head.weight.detach()
    assert values.abs().max() <= bound
    assert values.abs().max() > 0.99 * bound
    assert values.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)


def test_input_statistics_are_the_backbones() -> None:
    network = CamNetwork(create_backbone("efficientnet_lite0", "none"), 2)
    assert (network.mean, network.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_dropout_changes_training_logits_only() -> None:
    torch.manual_seed(0)
    network = CamNetwork(Tiny(), 5, dropout=0.5)
    x = torch.randn(2, 3, 16, 16)
    network.train()
    assert not torch.equal(network(x).logits, network(x).logits)
    assert torch.equal(network.cam(x), network.eval().cam(x))
    mean = torch.stack([network.train()(x).logits for _ in range(4000)]).mean(0)
    assert torch.allclose(mean, network.eval()(x).logits, atol=0.05)


def test_dropout_is_off_unless_asked_for() -> None:
    network, x = CamNetwork(Tiny(), 5).train(), torch.randn(2, 3, 16, 16)
    assert torch.equal(network(x).logits, network(x).logits)
    for value in (1.0, -0.1):
        with pytest.raises(ConfigError, match=r"but must be in \[0, 1\)"):
            CamNetwork(Tiny(), 5, dropout=value)


def test_gradients_of_maps_reach_head_and_backbone() -> None:
    torch.manual_seed(0)
    network = CamNetwork(Tiny(), 5)
    output = network(torch.randn(2, 3, 16, 16))
    network.maps(output.features).relu().square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_maps_of_sub_categories_are_a_source_of_cams_of_their_own() -> None:
    torch.manual_seed(0)
    network = CamNetwork(Tiny(), 3, subcategories=4)
    x = torch.randn(2, 3, 20, 24)
    source = SubcategoryMaps(network, [0, 2, 0, 2])
    assert source.parents == (0, 2, 0, 2) and (source.mean, source.std) == (network.mean, network.std)
    maps = source.cam(x)
    pooled = network(x).sub_logits
    assert pooled is not None
    torch.testing.assert_close(maps.mean((2, 3)), pooled)
