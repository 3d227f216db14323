"""Manifold Mixup: at the input it is Mixup, elsewhere it mixes features with the labels' weights."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from wsss.config.params.stages import ClassifierParams, MixingParams
from wsss.errors import ConfigError
from wsss.methods.mixing import Mixer
from wsss.models import CamNetwork, create_backbone
from wsss.models.backbone import Backbone
from wsss.models.kind import Tap
from wsss.stages.kinds.training.classifier import check_taps
from wsss.stages.training.network import mixing_taps

IMAGES = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
LABELS = torch.eye(4)


def mixed_at(tap: str, seed: int = 0):  # type: ignore[no-untyped-def]
    mixer = Mixer(MixingParams(kind="manifold", alpha=1.0), [tap])
    return mixer.mix(IMAGES, LABELS, torch.Generator().manual_seed(seed))


def test_at_the_input_it_is_mixup_number_by_number() -> None:
    mixup = Mixer(MixingParams(kind="mixup", alpha=1.0))
    for seed in range(5):
        plain = mixup.mix(IMAGES, LABELS, torch.Generator().manual_seed(seed))
        manifold = mixed_at("input", seed)
        assert torch.equal(manifold.images, plain.images)
        assert torch.equal(manifold.labels, plain.labels)
        assert manifold.tap == ""


class Linear(Backbone):
    """Three bias-free 1×1 convolutions: mixing commutes with them."""

    name, channels, stride, default_freeze = "linear", 8, 1, "none"
    taps = (Tap("a", 5, 1), Tap("b", 6, 1), Tap("c", 8, 1))

    def __init__(self) -> None:
        super().__init__()
        sizes = [3, 5, 6, 8]
        self.layers = nn.ModuleList(nn.Conv2d(i, o, 1, bias=False) for i, o in itertools.pairwise(sizes))

    def segments(self) -> list[nn.Module]:
        return list(self.layers)

    def load_weights(self, weights: str) -> None:
        raise NotImplementedError


def test_in_a_linear_network_it_doesnt_matter_where_it_is_mixed() -> None:
    torch.manual_seed(0)
    network = CamNetwork(Linear(), 4)
    outputs = []
    for tap in ("input", "a", "b", "c"):
        mixed = mixed_at(tap)
        outputs.append(network(mixed.images, mixed.tap, mixed.mix_features).logits)
    for output in outputs[1:]:
        torch.testing.assert_close(output, outputs[0], atol=1e-5, rtol=1e-4)


def test_in_a_real_network_it_does_and_only_from_the_tap_on() -> None:
    torch.manual_seed(0)
    network = CamNetwork(create_backbone("efficientnet_lite0", "package"), 4).eval()
    mixed = mixed_at("blocks2")
    seen: dict[str, torch.Tensor] = {}

    def change(features: torch.Tensor) -> torch.Tensor:
        seen["before"] = features
        seen["after"] = mixed.mix_features(features)
        return seen["after"]

    with torch.no_grad():
        output = network(mixed.images, mixed.tap, change).logits
        plain = network.backbone.forward_taps(IMAGES)
        at_input = mixed_at("input")
        other = network(at_input.images).logits
    assert torch.equal(seen["before"], plain["blocks2"]), "below the tap nothing is mixed"
    weight = float(mixed.weight[0])
    expected = weight * plain["blocks2"] + (1 - weight) * plain["blocks2"][mixed.permutation]
    torch.testing.assert_close(seen["after"], expected)
    assert not torch.allclose(output, other, atol=1e-3)


def test_what_lies_before_the_tap_learns_too() -> None:
    torch.manual_seed(0)
    network = CamNetwork(Linear(), 4)
    mixed = mixed_at("b")
    network(mixed.images, mixed.tap, mixed.mix_features).logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_weight_of_1_is_a_plain_forward_and_of_0_a_permuted_one(weight: float) -> None:
    torch.manual_seed(0)
    network = CamNetwork(Linear(), 4)
    mixed = mixed_at("b")
    object.__setattr__(mixed, "weight", torch.full((4,), weight))
    plain = network(IMAGES).logits
    expected = plain if weight else plain[mixed.permutation]
    torch.testing.assert_close(network(mixed.images, "b", mixed.mix_features).logits, expected)


def test_every_tap_is_drawn_about_equally_often() -> None:
    mixer = Mixer(MixingParams(kind="manifold"), ["input", "a", "b"])
    generator = torch.Generator().manual_seed(0)
    drawn = [mixer.mix(IMAGES[:2, :, :1, :1], LABELS[:2], generator).tap for _ in range(900)]
    assert all(240 < drawn.count(tap) < 360 for tap in ("", "a", "b"))


def test_taps_are_the_backbones_all_but_the_last() -> None:
    params = ClassifierParams(backbone="resnet50", mixing=MixingParams(kind="manifold"))
    assert mixing_taps(params) == ("input", "stem", "layer1", "layer2", "layer3")
    some = MixingParams(kind="manifold", taps=("input", "layer2"))
    assert mixing_taps(params.model_copy(update={"mixing": some})) == ("input", "layer2")


def test_unknown_taps_are_all_named_with_the_nearest() -> None:
    mixing = MixingParams(kind="manifold", taps=("inputs",))
    with pytest.raises(ConfigError) as caught:
        check_taps(ClassifierParams(backbone="resnet50", freeze="layr2", mixing=mixing))
    assert "resnet50 has no tap 'layr2' (did you mean 'layer2'?)" in str(caught.value)
    assert "resnet50 has no tap 'inputs' (did you mean 'input'?)" in str(caught.value)
