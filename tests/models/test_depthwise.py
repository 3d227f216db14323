"""Depthwise convolutions in phases against torch's own, of layers and of whole networks."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from wsss.models import CamNetwork, DeepLab, create_backbone
from wsss.models.computing.depthwise import PhasedConv2d, phases, use_phases, whole

CASES = [(3, 2), (3, 4), (3, 9), (5, 2), (5, 3), (5, 4), (7, 2)]


def pair(size: int, dilation: int, *, bias: bool, dtype: torch.dtype) -> tuple[nn.Conv2d, nn.Conv2d]:
    """One of torch's convolutions, and the same in phases."""
    torch.manual_seed(0)
    reach = dilation * (size // 2)
    own = nn.Conv2d(6, 6, size, 1, reach, dilation, groups=6, bias=bias, dtype=dtype)
    phased = copy.deepcopy(own)
    use_phases(phased)
    assert type(phased) is PhasedConv2d and type(own) is nn.Conv2d
    return own, phased


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(2, 6, 11, 14), (1, 6, 3, 2), (3, 6, 16, 16)])
@pytest.mark.parametrize(("size", "dilation"), CASES)
def test_result_and_gradients_are_torchs(
    size: int, dilation: int, shape: tuple[int, ...], bias: bool
) -> None:
    own, phased = pair(size, dilation, bias=bias, dtype=torch.float64)
    x = torch.randn(shape, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    pull = torch.randn(shape, dtype=torch.float64)
    results = []
    for convolution in (own, phased):
        seen = x.clone().requires_grad_()
        y = convolution(seen)
        y.backward(pull)
        results.append([y.detach(), seen.grad, *(p.grad for p in convolution.parameters())])
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_only_what_learns_has_a_gradient() -> None:
    _, phased = pair(3, 2, bias=False, dtype=torch.float32)
    phased.requires_grad_(False)
    x = torch.randn(1, 6, 5, 5, requires_grad=True)
    phased(x).sum().backward()
    assert x.grad is not None and phased.weight.grad is None


@pytest.mark.parametrize(("height", "width", "dilation"), [(7, 10, 2), (3, 2, 4), (8, 8, 4)])
def test_phases_are_every_second_row_and_column_and_come_back(height: int, width: int, dilation: int) -> None:
    x = torch.arange(2.0 * 3 * height * width).view(2, 3, height, width)
    parts = phases(x, dilation)
    first = parts[0][:, : -(-height // dilation), : -(-width // dilation)]
    assert torch.equal(first, x[0, :, ::dilation, ::dilation])
    assert torch.equal(whole(parts, dilation, (height, width)), x)


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(4, 4, 3, 1, 2, 2),
        nn.Conv2d(4, 8, 3, 1, 2, 2, groups=4),
        nn.Conv2d(4, 4, 3, 2, 2, 2, groups=4),
        nn.Conv2d(4, 4, 3, 1, 1, 2, groups=4),
        nn.Conv2d(4, 4, 3, 1, 1, 1, groups=4),
        nn.Conv2d(4, 4, 3, 1, 2, 2, groups=4, padding_mode="circular"),
        nn.Conv2d(4, 4, 3, 1, "same", 2, groups=4),
    ],
    ids=["full", "more outputs", "strided", "shrinks", "plain", "circular", "padded by name"],
)
def test_other_convolutions_stay_torchs(convolution: nn.Conv2d) -> None:
    use_phases(convolution)
    assert type(convolution) is nn.Conv2d


def test_elsewhere_than_on_a_cpu_torchs_own_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    _, phased = pair(3, 2, bias=False, dtype=torch.float32)
    monkeypatch.setattr("wsss.models.computing.depthwise.convolve", None)
    phased.to("meta")
    assert phased(torch.empty(1, 6, 8, 8, device="meta")).shape == (1, 6, 8, 8)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "mobilenet_v2"])
@pytest.mark.parametrize("dense", [False, True])
def test_a_whole_network_has_the_loss_and_the_gradients_of_torchs(name: str, dense: bool) -> None:
    torch.manual_seed(0)
    weights = "package" if name == "efficientnet_lite0" else "none"
    backbone = create_backbone(name, weights, dense=dense)
    network: nn.Module = DeepLab(backbone, ["a", "b"], [1.0]) if dense else CamNetwork(backbone, 2)
    phased = [module for module in network.modules() if type(module) is PhasedConv2d]
    assert len(phased) == {True: 10, False: 4 if weights == "package" else 3}[dense]
    reference = copy.deepcopy(network)
    for module in reference.modules():
        if type(module) is PhasedConv2d:
            module.__class__ = nn.Conv2d
    assert list(reference.state_dict()) == list(network.state_dict())
    x = torch.randn(1, 3, 49, 65)
    losses = []
    for one in (reference, network):
        output = one(x)
        loss = (output[0] if dense else output.logits).square().mean()
        loss.backward()
        losses.append(loss.item())
    assert losses[1] == pytest.approx(losses[0], abs=1e-6)
    for (key, own), found in zip(reference.named_parameters(), network.parameters(), strict=True):
        if own.grad is not None:
            # Sums of float32 in another order, through a whole network.
            assert (found.grad - own.grad).abs().max() <= 1e-5 * own.grad.abs().max() + 1e-9, key


def test_a_networks_random_weights_are_those_without_phases(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    phased = create_backbone("mobilenet_v2", "none")
    after = torch.rand(1)
    monkeypatch.setattr("wsss.models.backbone.use_phases", lambda network: None)
    torch.manual_seed(3)
    plain = create_backbone("mobilenet_v2", "none")
    assert torch.equal(torch.rand(1), after)
    assert all(torch.equal(a, b) for a, b in zip(phased.parameters(), plain.parameters(), strict=True))
