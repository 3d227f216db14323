"""Affinity and boundary networks: grids, gains, and what may learn, on every backbone with taps."""

from __future__ import annotations

import pytest
import torch

from wsss.errors import ConfigError
from wsss.models import AffinityNetwork, BoundaryNetwork, backbone_class, backbone_names, create_backbone

NAMES = [name for name in backbone_names() if backbone_class(name).affinity_taps]


def test_all_backbones_of_our_own_can_be_used() -> None:
    assert set(NAMES) == set(backbone_names())


@pytest.mark.parametrize("name", NAMES)
def test_grids_and_channels(name: str) -> None:
    backbone = create_backbone(name, "none")
    taps = {tap.name: tap for tap in backbone.taps}
    assert [taps[tap].stride >= 8 for tap in backbone.affinity_taps] == [True] * 3
    assert taps[backbone.affinity_taps[0]].stride == 8
    x = torch.randn(1, 3, 50, 67)
    with torch.no_grad():
        assert AffinityNetwork(backbone).eval()(x).shape == (1, 448, 7, 9)
        assert BoundaryNetwork(backbone).eval()(x).shape == (1, 13, 17)


def test_new_layers_start_as_published() -> None:
    torch.manual_seed(0)
    network = AffinityNetwork(create_backbone("resnet50", "none"))
    limit = 4 * (6 / (448 + 448)) ** 0.5
    assert float(network.mix.weight.detach().abs().max()) == pytest.approx(limit, rel=0.01)
    for layer, channels in zip(network.reduce, (512, 1024, 2048), strict=True):
        assert float(layer.weight.detach().std()) == pytest.approx((2 / channels) ** 0.5, rel=0.05)  # type: ignore[union-attr, operator]
    assert all(layer.bias is None for layer in (*network.reduce, network.mix))


def test_the_boundary_branch_leaves_its_backbone_alone() -> None:
    network = BoundaryNetwork(create_backbone("efficientnet_lite0", "none")).train()
    network(torch.randn(1, 3, 32, 32)).sum().backward()
    assert all(parameter.grad is None for parameter in network.backbone.parameters())
    assert all(p.grad is not None for head in network.heads for p in head.parameters())


def test_gradients_of_affinities_reach_the_backbone() -> None:
    network = AffinityNetwork(create_backbone("efficientnet_lite0", "none")).train()
    network.backbone.freeze("blocks2")
    network(torch.randn(1, 3, 32, 32)).square().sum().backward()
    with_gradient = {n for n, p in network.backbone.named_parameters() if p.grad is not None and p.grad.any()}
    assert any(name.startswith("blocks.4") for name in with_gradient)
    assert not any(name.startswith(("conv_stem", "blocks.0", "blocks.2")) for name in with_gradient)


def test_a_backbone_without_taps_says_so() -> None:
    with pytest.raises(ConfigError, match="timm/resnet18 doesn't say at which taps"):
        AffinityNetwork(create_backbone("timm/resnet18", "none"))
