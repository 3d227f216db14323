"""Stochastic gradient descent as the field does it: four parameter groups and a poly schedule."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

BIAS_MULTIPLIER = 2.0
LEGACY_TOTAL = 100_000
"""Iterations after which the first public code's schedule would end; a training takes a few thousand."""


def build_optimiser(
    backbone: nn.Module,
    heads: Sequence[nn.Module],
    *,
    lr: float,
    momentum: float,
    weight_decay: float,
    head_multiplier: float,
) -> torch.optim.SGD:
    """Return SGD over what may learn: pretrained weights at 1×, their biases at 2×, the new heads at
    `head_multiplier`×, their biases at twice that; biases are not decayed. The scale and shift of batch
    normalisation count as weight and bias.

    Args:
        backbone: the pretrained network.
        heads: new layers on top of it.
        lr: the learning rate, above 0.
        momentum: in [0, 1). Widely copied code passes the weight decay in its place; learning rates
            published with it were tuned without momentum, divide them by about ten.
        weight_decay: of weights, at least 0.
        head_multiplier: of the heads' learning rate, above 0.

    Examples:
        >>> recipe = {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4, "head_multiplier": 10}
        >>> optimiser = build_optimiser(nn.Linear(2, 2), [nn.Linear(2, 1)], **recipe)
        >>> [group["lr"] for group in optimiser.param_groups]
        [0.01, 0.02, 0.1, 0.2]
    """
    groups: list[dict[str, Any]] = []
    for module, multiplier in ((backbone, 1.0), *((head, head_multiplier) for head in heads)):
        weights, biases = _weights_and_biases(module)
        groups.append({"params": weights, "lr": lr * multiplier, "weight_decay": weight_decay})
        groups.append({"params": biases, "lr": lr * multiplier * BIAS_MULTIPLIER, "weight_decay": 0.0})
    groups = [group for group in groups if group["params"]]
    # One kernel for all weights, which also undoes a loss's scale without asking the card. A CPU keeps its
    # bits.
    fused = all(weight.is_cuda for group in groups for weight in group["params"]) or None
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, fused=fused)


def _weights_and_biases(module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    learning = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    biases = [p for name, p in learning if name.endswith("bias")]
    return [p for name, p in learning if not name.endswith("bias")], biases


class PolySchedule(LambdaLR):
    """lr_t = lr_0 · (1 − t / total)^power, stepped once per iteration.

    Args:
        optimiser: its groups' learning rates are lr_0.
        total: iterations until the learning rate is 0.
        power: above 0; 1 is a straight line.

    Examples:
        >>> optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
        >>> schedule = PolySchedule(optimiser, total=4, power=0.9)
        >>> rates = []
        >>> for _ in range(4):
        ...     optimiser.step()
        ...     schedule.step()
        ...     rates.append(round(optimiser.param_groups[0]["lr"], 3))
        >>> rates
        [0.077, 0.054, 0.029, 0.0]
    """

    def __init__(self, optimiser: torch.optim.Optimizer, total: int, power: float) -> None:
        # Batches without labels, and steps that mixed precision skips, count as iterations too.
        warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
        super().__init__(optimiser, lambda done: max(0.0, 1 - done / total) ** power)

    def apply(self) -> None:
        """Set the next iteration's learning rates, from `base_lrs` and `last_epoch`, the iterations done."""
        for group, base, factor in zip(
            self.optimizer.param_groups, self.base_lrs, self.lr_lambdas, strict=True
        ):
            group["lr"] = base * factor(self.last_epoch)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a saved state; set the learning rates of the next iteration."""
        if "done" in state_dict:  # a checkpoint from before the schedule was one of torch
            rates, done = list(state_dict["base"]), int(state_dict["done"])
            state_dict = {"base_lrs": rates, "last_epoch": done, "lr_lambdas": [None] * len(rates)}
        super().load_state_dict(state_dict)
        self.apply()
