"""What every backbone promises; a new one is tested by being registered."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from wsss.errors import ConfigError
from wsss.methods.optimiser import build_optimiser
from wsss.models import Backbone, CamNetwork, backbone_names, create_backbone, weights_identity
from wsss.models.pretrained.weights import PACKAGES


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def norms(module: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    return [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def fresh(name: str, seed: int = 0) -> Backbone:
    """A backbone with random weights and running statistics that are not the identity."""
    torch.manual_seed(seed)
    backbone = create_backbone(name, "none")
    for norm in norms(backbone):
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.5, 1.5)
    return without_chance(backbone)


def without_chance(backbone: Backbone) -> Backbone:
    for module in backbone.modules():
        if isinstance(module, nn.Dropout2d):
            module.p = 0.0
    return backbone


def is_installed(name: str) -> bool:
    """Whether a package with weights for a backbone is there."""
    package = PACKAGES.get(name, "")
    return bool(package) and importlib.util.find_spec(package.replace("-", "_")) is not None


def freeze_specs() -> list[tuple[str, str]]:
    """Every tap of the small backbones; for the big ones what differs in kind."""
    specs = []
    for name in backbone_names():
        with torch.device("meta"):  # in every worker of the suite
            taps = [tap.name for tap in create_backbone(name, "none").taps]
        chosen = taps[:1] if name in ("resnet101", "resnet101_caffe", "resnet38") else taps
        specs += [(name, spec) for spec in ("default", "none", "all", *chosen)]
    return specs


@pytest.mark.parametrize("name", backbone_names())
class TestBackbone:
    @pytest.mark.parametrize("size", [(64, 64), (64, 96), (65, 47)])
    def test_taps_are_what_it_declares(self, name: str, size: tuple[int, int]) -> None:
        backbone = fresh(name)
        with torch.no_grad():
            features = backbone.forward_taps(torch.randn(1, 3, *size))
            final = backbone(torch.zeros(1, 3, *size))
        assert list(features) == [tap.name for tap in backbone.taps]
        for tap in backbone.taps:
            grid = tuple(math.ceil(length / tap.stride) for length in size)
            assert features[tap.name].shape == (1, tap.channels, *grid), tap
        grid = tuple(math.ceil(length / backbone.stride) for length in size)
        assert final.shape == (1, backbone.channels, *grid)
        assert (backbone.taps[-1].channels, backbone.taps[-1].stride) == (backbone.channels, backbone.stride)

    def test_the_last_tap_is_the_output(self, name: str) -> None:
        backbone, x = fresh(name), torch.randn(2, 3, 64, 64)
        with torch.no_grad():
            assert torch.equal(backbone(x), list(backbone.forward_taps(x).values())[-1])

    def test_it_declares_statistics_and_a_tap_to_freeze(self, name: str) -> None:
        backbone = fresh(name)
        assert backbone.name == name
        assert len(backbone.mean) == len(backbone.std) == 3
        assert all(0 < value < 1 for value in (*backbone.mean, *backbone.std))
        assert backbone.default_freeze in ("none", *(tap.name for tap in backbone.taps))
        assert len({tap.name for tap in backbone.taps}) == len(backbone.taps)
        assert not {tap.name for tap in backbone.taps} & {"default", "none", "all"}

    def test_every_parameter_belongs_to_a_segment(self, name: str) -> None:
        backbone = fresh(name)
        inside = [p for segment in backbone.segments() for p in segment.parameters()]
        assert len(inside) == len({id(p) for p in inside})
        assert {id(p) for p in inside} == {id(p) for p in backbone.parameters()}

    def test_training_mode_changes_no_feature(self, name: str) -> None:
        backbone, x = fresh(name), torch.randn(2, 3, 64, 64)
        with torch.no_grad():
            learning, resting = backbone.train()(x), backbone.eval()(x)
        assert torch.equal(learning, resting)

    def test_batch_normalisation_never_trains_its_statistics(self, name: str) -> None:
        backbone = fresh(name)
        assert norms(backbone)
        network = CamNetwork(backbone, 3)
        for spec in ("none", "default"):
            backbone.freeze(spec)
            assert network.train().training
            assert not any(norm.training for norm in norms(network))
            before = {key: value.clone() for key, value in network.named_buffers()}
            network(torch.randn(2, 3, 64, 64)).logits.sum().backward()
            assert all(torch.equal(before[key], value) for key, value in network.named_buffers())

    def test_an_unknown_tap_is_named_with_the_nearest(self, name: str) -> None:
        backbone = fresh(name)
        last = backbone.taps[-1].name
        with pytest.raises(ConfigError, match=last):
            backbone.freeze(f"{last}x")

    @pytest.mark.parametrize("suffix", ["pth", "safetensors"])
    def test_its_own_weights_come_back_from_a_file(self, name: str, suffix: str, tmp_path: Path) -> None:
        backbone, x = fresh(name, seed=1), torch.randn(1, 3, 64, 64)
        path = tmp_path / f"weights.{suffix}"
        if suffix == "pth":
            torch.save(backbone.state_dict(), path)
        else:
            save_file(backbone.state_dict(), path)
        torch.manual_seed(2)
        again = without_chance(create_backbone(name, str(path)))
        with torch.no_grad():
            assert torch.equal(backbone(x), again(x))
        assert weights_identity(name, str(path)).startswith("sha256:")

    def test_state_dicts_round_trip(self, name: str) -> None:
        first, second, x = fresh(name, seed=1), fresh(name, seed=2), torch.randn(1, 3, 64, 64)
        with torch.no_grad():
            assert not torch.equal(first(x), second(x))
            second.load_state_dict(first.state_dict())
            assert torch.equal(first(x), second(x))

    def test_packaged_weights_load_or_the_message_says_what_else(self, name: str) -> None:
        if name == "efficientnet_lite0" or is_installed(name):
            assert weights_identity(name, "package").startswith("package:")
            assert "==" in weights_identity(name, "package")
            create_backbone(name, "package")
            return
        with pytest.raises(ConfigError) as caught:
            weights_identity(name, "package")
        assert all(word in str(caught.value) for word in (name, "FILE", "download", "none"))
        with pytest.raises(ConfigError, match="installed"):
            create_backbone(name, "package")

    def test_identities_differ_by_source(self, name: str) -> None:
        assert weights_identity(name, "none") == "none"
        if name in ("resnet38", "resnet101_caffe"):
            with pytest.raises(ConfigError, match=f"no release to download for {name}"):
                weights_identity(name, "download")
        else:
            assert weights_identity(name, "download").startswith(f"download:{name}:")


@pytest.mark.parametrize(("name", "spec"), freeze_specs())
def test_a_training_step_moves_what_may_learn_and_nothing_else(name: str, spec: str) -> None:
    backbone = fresh(name)
    names = [tap.name for tap in backbone.taps]
    last = {"default": backbone.default_freeze, "all": names[-1]}.get(spec, spec)
    count = 0 if last == "none" else names.index(last) + 1
    frozen = {id(p) for segment in backbone.segments()[:count] for p in segment.parameters()}
    if backbone.frozen_norms:
        frozen |= {id(p) for norm in norms(backbone) for p in norm.parameters()}
    network = CamNetwork(backbone, 3)
    backbone.freeze("all")  # what was frozen before must not matter
    backbone.freeze(spec)
    network.train()
    optimiser = build_optimiser(
        network.backbone, network.heads, lr=0.1, momentum=0.9, weight_decay=0.1, head_multiplier=10
    )
    before = {key: value.clone() for key, value in network.state_dict().items()}
    network(torch.randn(2, 3, 64, 64)).logits.pow(2).sum().backward()
    optimiser.step()
    for key, parameter in network.named_parameters():
        learns = id(parameter) not in frozen
        assert parameter.requires_grad == learns, key
        assert (parameter.grad is not None) == learns, key
        assert torch.equal(before[key], parameter) != learns, key
    for key, buffer in network.named_buffers():
        assert torch.equal(before[key], buffer), key


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'resnet50'"):
        create_backbone("resnet5", "none")
    with pytest.raises(ConfigError, match="did you mean 'mobilenet_v2'"):
        weights_identity("mobilenetv2", "none")


def test_512_pixels_give_a_grid_of_32() -> None:
    with torch.no_grad():
        assert create_backbone("resnet50", "none")(torch.zeros(1, 3, 512, 512)).shape == (1, 2048, 32, 32)
