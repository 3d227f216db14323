"""Parameter groups, momentum that is momentum, and the poly schedule."""

from __future__ import annotations

import pytest
import torch

from wsss.methods.optimiser import LEGACY_TOTAL, PolySchedule, build_optimiser
from wsss.models import CamNetwork, create_backbone


def network(freeze: str = "default") -> CamNetwork:
    found = CamNetwork(create_backbone("efficientnet_lite0", "none"), 5)
    found.backbone.freeze(freeze)
    return found


def build(net: CamNetwork, **changes: float) -> torch.optim.SGD:
    values = {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4, "head_multiplier": 10.0, **changes}
    return build_optimiser(net.backbone, net.heads, **values)


def test_groups_have_the_rates_of_the_field_and_biases_are_not_decayed() -> None:
    net = network()
    found = {
        id(parameter): (group["lr"], group["weight_decay"])
        for group in build(net).param_groups
        for parameter in group["params"]
    }
    for name, parameter in net.named_parameters():
        if not parameter.requires_grad:
            assert id(parameter) not in found
        elif name.startswith("head"):
            assert found[id(parameter)] == (pytest.approx(0.1), 5e-4)
        elif name.endswith("bias"):
            assert found[id(parameter)] == (pytest.approx(0.02), 0.0)
        else:
            assert found[id(parameter)] == (pytest.approx(0.01), 5e-4)
    assert len(found) == sum(p.requires_grad for p in net.parameters())


def test_every_parameter_that_may_learn_is_in_a_group_a_second_head_too() -> None:
    net = CamNetwork(create_backbone("efficientnet_lite0", "none"), 5, subcategories=11)
    groups = build(net).param_groups
    assert {id(p) for group in groups for p in group["params"]} == {
        id(p) for p in net.parameters() if p.requires_grad
    }
    assert net.sub_head is not None
    assert [g["lr"] for g in groups if g["params"][0] is net.sub_head.weight] == [pytest.approx(0.1)]


def test_a_probe_learns_its_head_only() -> None:
    groups = build(network("all")).param_groups
    assert [tuple(p.shape) for group in groups for p in group["params"]] == [(5, 1280, 1, 1)]


@pytest.mark.parametrize(("momentum", "second"), [(0.9, 1.9), (0.0, 1.0)])
def test_momentum_is_momentum(momentum: float, second: float) -> None:
    net = network("all")
    optimiser = build(net, momentum=momentum, weight_decay=0.0, head_multiplier=1.0)
    gradient = torch.randn_like(net.head.weight)
    for factor in (1.0, second):
        before = net.head.weight.detach().clone()
        net.head.weight.grad = gradient.clone()
        optimiser.step()
        moved = before - net.head.weight.detach()
        torch.testing.assert_close(moved, 0.01 * factor * gradient, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    ("share", "factor"), [(0.25, 0.7719), (0.5, 0.5359), (0.75, 0.2872), (0.9, 0.1259), (1.0, 0.0)]
)
def test_the_poly_schedule(share: float, factor: float) -> None:
    optimiser = build(network())
    base = [group["lr"] for group in optimiser.param_groups]
    schedule = PolySchedule(optimiser, 100, 0.9)
    for _ in range(round(100 * share)):
        schedule.step()
    assert [group["lr"] / b for group, b in zip(optimiser.param_groups, base, strict=True)] == pytest.approx(
        [factor] * len(base), abs=5e-5
    )


def test_a_schedule_goes_on_where_it_was_saved() -> None:
    first, second = build(network()), build(network())
    a, b = PolySchedule(first, 20, 0.9), PolySchedule(second, 20, 0.9)
    for _ in range(7):
        a.step()
    b.load_state_dict(a.state_dict())
    assert [g["lr"] for g in second.param_groups] == [g["lr"] for g in first.param_groups]
    a.step(), b.step()
    assert [g["lr"] for g in second.param_groups] == [g["lr"] for g in first.param_groups]


def test_the_legacy_schedule_hardly_moves() -> None:
    """After 2,745 of 100,000 iterations the rate is still 97.5 % of the first."""
    optimiser = build(network())
    schedule = PolySchedule(optimiser, LEGACY_TOTAL, 0.9)
    first = optimiser.param_groups[0]["lr"]
    schedule.load_state_dict({"done": 2745, "base": schedule.base_lrs})
    assert optimiser.param_groups[0]["lr"] / first == pytest.approx(0.975, abs=5e-4)


def test_checkpoints_of_the_schedule_before_torchs_are_read() -> None:
    optimiser = build(network())
    base = [group["lr"] for group in optimiser.param_groups]
    schedule = PolySchedule(optimiser, 20, 0.9)
    schedule.load_state_dict({"done": 7, "base": [2 * rate for rate in base]})
    schedule.step()
    factor = (1 - 8 / 20) ** 0.9
    assert [group["lr"] for group in optimiser.param_groups] == [2 * rate * factor for rate in base]


def test_nothing_is_said_of_iterations_without_an_update(recwarn: pytest.WarningsRecorder) -> None:
    """Mixed precision skips its first updates, to find its scale."""
    PolySchedule(build(network()), 20, 0.9).step()
    assert not recwarn.list
