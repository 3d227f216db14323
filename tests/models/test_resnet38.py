"""ResNet-38 by its published numbers, and its weights in both of their file formats."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from wsss.errors import ConfigError
from wsss.models import create_backbone
from wsss.models.backbones.mxnet_file import read_params
from wsss.models.backbones.resnet38 import ResNet38, from_mxnet


@pytest.fixture(scope="module")
def network() -> ResNet38:
    torch.manual_seed(0)
    found = ResNet38()
    for name, tensor in found.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif name.endswith(("running_mean", "bias")):
            tensor.normal_(0, 0.1)
    return found.eval()


def test_it_has_the_published_number_of_parameters(network: ResNet38) -> None:
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(105.07, abs=0.005)


@pytest.mark.parametrize(("size", "grid"), [(300, 38), (448, 56)])
def test_grids_are_those_of_the_literature(network: ResNet38, size: int, grid: int) -> None:
    """Followed on the meta device: only shapes are computed."""
    shapes = ResNet38().to("meta").eval().forward_taps(torch.empty(1, 3, size, size, device="meta"))
    assert shapes["bn7"].shape == (1, 4096, grid, grid)
    assert (shapes["b4"].shape[1], shapes["b5"].shape[1]) == (512, 1024)


def test_a_block_is_what_its_formula_says(network: ResNet38) -> None:
    block = network.b5
    x = torch.randn(1, 512, 9, 7)
    norm, conv = torch.nn.functional.batch_norm, torch.nn.functional.conv2d

    def rectified(values: torch.Tensor, layer: torch.nn.BatchNorm2d) -> torch.Tensor:
        assert layer.running_mean is not None and layer.running_var is not None
        return norm(values, layer.running_mean, layer.running_var, layer.weight, layer.bias).clamp(min=0)

    with torch.no_grad():
        u = rectified(x, block.bn_branch2a)
        inner = rectified(conv(u, block.conv_branch2a.weight, padding=1), block.bn_branch2b1)
        branch = conv(inner, block.conv_branch2b1.weight, padding=2, dilation=2)
        expected = branch + conv(u, block.conv_branch1.weight)
        torch.testing.assert_close(block(x), expected, atol=1e-4, rtol=1e-4)
        same = network.b5_1
        y = torch.randn(1, 1024, 5, 5)
        assert not hasattr(same, "conv_branch1"), "equal shapes are added as they are"
        silent = {name: torch.zeros_like(t) for name, t in same.state_dict().items() if "conv" in name}
        quiet = torch.func.functional_call(same, silent, (y,))
        torch.testing.assert_close(quiet, y)


def test_a_release_with_its_heads_loads(network: ResNet38, tmp_path: Path) -> None:
    state = {**network.state_dict(), "fc8.weight": torch.zeros(20, 4096, 1, 1)}
    torch.save(state, tmp_path / "release.pth")
    loaded = create_backbone("resnet38", str(tmp_path / "release.pth")).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in network.state_dict().items())


def test_batch_normalisation_is_frozen_whatever_may_learn(network: ResNet38) -> None:
    network.freeze("none")
    learning = {name for name, p in network.named_parameters() if p.requires_grad}
    assert learning
    assert all("conv" in name for name in learning)
    network.freeze("default")
    assert not network.conv1a.weight.requires_grad
    assert not network.b2_2.conv_branch2a.weight.requires_grad
    assert network.b3.conv_branch2a.weight.requires_grad


def mxnet_name(name: str) -> str:
    """The inverse of what is tested, by hand: our names in the words of the MXNet file."""
    if name == "conv1a.weight":
        return "arg:conv1a_weight"
    parts, last = name.split(".")[:-1], name.split(".")[-1]
    words = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_var"}
    place = "aux" if last.startswith("running") else "arg"
    if parts == ["bn7"]:
        return f"{place}:bn7_{words[last]}"
    block, layer = parts
    group, _, number = block[1:].partition("_")
    stem = f"{group}b{number}" if number else f"{group}a"
    kind, _, branch = layer.partition("_")
    if kind == "conv":
        return f"arg:res{stem}_{branch}_weight"
    return f"{place}:bn{stem}_{branch}_{words[last]}"


def params_file(path: Path, tensors: dict[str, torch.Tensor], version: int) -> Path:
    """Write MXNet's format, array by array; `version` 0, 1 or 2."""
    parts = [struct.pack("<QQQ", 0x112, 0, len(tensors))]
    for tensor in tensors.values():
        shape = tuple(tensor.shape)
        if version:
            head = struct.pack("<I", 0xF993FAC8) if version == 1 else struct.pack("<Ii", 0xF993FAC9, 0)
            head += struct.pack(f"<I{len(shape)}q", len(shape), *shape)
        else:
            head = struct.pack(f"<I{len(shape)}I", len(shape), *shape)
        parts += [head, struct.pack("<iii", 1, 0, 0), tensor.numpy().astype("<f4").tobytes()]
    parts.append(struct.pack("<Q", len(tensors)))
    parts += [struct.pack("<Q", len(name.encode())) + name.encode() for name in tensors]
    path.write_bytes(b"".join(parts))
    return path


@pytest.mark.parametrize("version", [0, 1, 2])
def test_every_version_of_an_mxnet_array_is_read(version: int, tmp_path: Path) -> None:
    tensors = {"arg:a": torch.arange(6.0).reshape(1, 2, 3), "aux:bb": torch.tensor([7.0])}
    found = read_params(params_file(tmp_path / "x.params", tensors, version))
    assert list(found) == list(tensors)
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_mxnets_names_become_ours(network: ResNet38) -> None:
    state = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    renamed = from_mxnet({mxnet_name(name): tensor for name, tensor in state.items()})
    assert set(renamed) == set(state)
    assert all(renamed[name] is tensor for name, tensor in state.items())
    assert mxnet_name("b4_2.conv_branch2a.weight") == "arg:res4b2_branch2a_weight"


def test_the_whole_network_comes_out_of_a_params_file(network: ResNet38, tmp_path: Path) -> None:
    state = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    tensors = {mxnet_name(name): tensor for name, tensor in state.items()}
    tensors["arg:linear1000_weight"] = torch.zeros(3, 2)
    file = params_file(tmp_path / "a1.params", tensors, 0)
    loaded = create_backbone("resnet38", str(file)).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04" * 9, struct.pack("<QQQI", 0x112, 0, 1, 99), b"\x12\x01"]
)
def test_something_else_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.params").write_bytes(content)
    with pytest.raises(ConfigError, match=r"x\.params: is not a readable MXNet file"):
        read_params(tmp_path / "x.params")


def test_a_file_that_ends_too_early_is_refused(tmp_path: Path) -> None:
    file = params_file(tmp_path / "x.params", {"arg:a": torch.from_numpy(np.ones((4, 4), np.float32))}, 2)
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ConfigError, match="ends after"):
        read_params(file)


def test_a_params_file_of_another_network_names_what_doesnt_fit(tmp_path: Path) -> None:
    file = params_file(tmp_path / "x.params", {"arg:res9z_branch2a_weight": torch.zeros(2)}, 2)
    with pytest.raises(ConfigError, match=r"doesn't fit ResNet38: conv1a\.weight is missing"):
        create_backbone("resnet38", str(file))
