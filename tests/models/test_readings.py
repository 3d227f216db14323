"""What heads read of a backbone whose blocks begin with a normalisation, and what mixing takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, elu

from wsss.config.params.stages import AffinityParams
from wsss.models import AffinityNetwork, Backbone, BoundaryNetwork, Tap, create_backbone
from wsss.stages import STAGES


class Block(nn.Module):
    """A sum: the input, normalised and rectified, through one convolution, beside the input's mean."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.norm(x).clamp(min=0)) + x.mean(1, keepdim=True)


class PreActivated(Backbone):
    """A stem of stride 8 and two blocks; the last tap is read as it is."""

    name: ClassVar[str] = "preactivated"
    channels: ClassVar[int] = 4
    stride: ClassVar[int] = 8
    taps: ClassVar[tuple[Tap, ...]] = (Tap("stem", 2, 8), Tap("one", 3, 8), Tap("two", 4, 8))
    default_freeze: ClassVar[str] = "none"
    affinity_taps: ClassVar[tuple[str, ...]] = ("stem", "one", "two")
    boundary_taps: ClassVar[tuple[str, ...]] = ("stem", "one", "two")
    next_norms: ClassVar[Mapping[str, str]] = {"stem": "one.norm", "one": "two.norm"}

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 2, 8, stride=8)
        self.one, self.two = Block(2, 3), Block(3, 4)
        for norm in (self.one.norm, self.two.norm):
            for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                assert tensor is not None
                nn.init.uniform_(tensor, 0.5, 1.5)

    def segments(self) -> list[nn.Module]:
        return [self.stem, self.one, self.two]

    def load_weights(self, weights: str) -> None:
        raise NotImplementedError


@pytest.fixture
def backbone() -> PreActivated:
    torch.manual_seed(0)
    return PreActivated().eval()


def by_hand(backbone: PreActivated, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """(sums at the taps, what the next block's convolution sees of them), without batch_norm or relu."""

    def activated(values: Tensor, norm: nn.BatchNorm2d) -> Tensor:
        assert norm.running_mean is not None and norm.running_var is not None
        shift, scale = norm.running_mean.view(-1, 1, 1), (norm.running_var + norm.eps).sqrt().view(-1, 1, 1)
        scaled = (values - shift) / scale * norm.weight.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)
        return torch.where(scaled > 0, scaled, torch.zeros(()))

    stem = conv2d(x, backbone.stem.weight, backbone.stem.bias, stride=8)
    first = activated(stem, backbone.one.norm)
    one = conv2d(first, backbone.one.conv.weight) + stem.mean(1, keepdim=True)
    second = activated(one, backbone.two.norm)
    two = conv2d(second, backbone.two.conv.weight) + one.mean(1, keepdim=True)
    return [stem, one, two], [first, second, two]


def test_affinities_are_read_behind_the_next_blocks_normalisation(backbone: PreActivated) -> None:
    network = AffinityNetwork(backbone).eval()
    x = torch.randn(2, 3, 40, 48)
    with torch.no_grad():
        sums, activated = by_hand(backbone, x)
        heads = [layer.weight for layer in network.reduce]  # type: ignore[union-attr]
        read, raw = (
            elu(conv2d(torch.cat([elu(conv2d(f, w)) for f, w in zip(from_, heads, strict=True)], 1), network.mix.weight))  # type: ignore[arg-type]
            for from_ in (activated, sums)
        )  # fmt: skip
        found = network(x)
    torch.testing.assert_close(found, read)
    assert float((found - raw).abs().max()) > 0.1, "raw sums would be seen"


def test_boundaries_are_too(backbone: PreActivated) -> None:
    network = BoundaryNetwork(backbone).eval()
    seen: list[Tensor] = []
    for layer in network.reduce:
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = torch.randn(1, 3, 40, 48)
    network(x)
    with torch.no_grad():
        for found, expected in zip(seen, by_hand(backbone, x)[1], strict=True):
            torch.testing.assert_close(found, expected)


def test_mixing_takes_the_sums_themselves(backbone: PreActivated) -> None:
    x = torch.randn(2, 3, 40, 48)
    taken: list[Tensor] = []

    def change(features: Tensor) -> Tensor:
        taken.append(features)
        return features

    with torch.no_grad():
        for tap in backbone.taps:
            backbone(x, tap.name, change)
        for found, taps, expected in zip(taken, backbone.forward_taps(x).values(), by_hand(backbone, x)[0], strict=True):  # fmt: skip
            torch.testing.assert_close(found, expected)
            assert torch.equal(found, taps)


def test_gradients_reach_what_comes_before_the_normalisation(backbone: PreActivated) -> None:
    AffinityNetwork(backbone.train())(torch.randn(2, 3, 40, 48))[:, :, 0, 0].sum().backward()
    assert backbone.stem.weight.grad is not None and backbone.stem.weight.grad.abs().sum() > 0


def test_heads_of_resnet38_read_what_the_next_blocks_convolutions_see() -> None:
    """PSA's conv4, conv5 and conv6: the inputs of b5's and b6's first convolutions, and the end of bn7."""
    torch.manual_seed(0)
    network = AffinityNetwork(create_backbone("resnet38", "none")).eval()
    seen: dict[str, Tensor] = {}
    modules = dict(network.named_modules())
    names = ["reduce.0", "reduce.1", "reduce.2", "backbone.b5.conv_branch2a", "backbone.b6.conv_branch2a"]
    for name in names:
        modules[name].register_forward_pre_hook(lambda _, inputs, name=name: seen.update({name: inputs[0]}))
    x = torch.randn(1, 3, 32, 40)
    with torch.no_grad():
        for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm2d)):
            assert norm.running_mean is not None
            norm.running_mean.normal_(0, 0.1)
        network(x)
        last = network.backbone(x)
    assert torch.equal(seen["reduce.0"], seen["backbone.b5.conv_branch2a"])
    assert torch.equal(seen["reduce.1"], seen["backbone.b6.conv_branch2a"])
    assert torch.equal(seen["reduce.2"], last)
    assert all(float(found.min()) == 0 for found in seen.values())


@pytest.mark.parametrize(
    ("name", "affinity", "boundary"),
    [("resnet38", 1, 1), ("resnet50", 0, 0), ("resnet101", 0, 0), ("efficientnet_lite0", 1, 0)],
)
def test_keys_of_affinities_change_where_readings_or_gradients_did(
    name: str, affinity: int, boundary: int
) -> None:
    """Of pre-activated backbones, and of those that learn in depthwise convolutions: boundaries don't."""
    for kind, freeze, revision in (("affinity", "default", affinity), ("boundary", "default", boundary)):
        params = AffinityParams.model_validate({"backbone": name, "kind": kind, "freeze": freeze})
        assert STAGES["affinity"].revision(params, {}) == revision
    frozen = AffinityParams.model_validate({"backbone": "efficientnet_lite0", "freeze": "all"})
    assert STAGES["affinity"].revision(frozen, {}) == 0
