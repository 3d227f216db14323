"""What every stage that trains a network does with a loss: one careful step, and its state on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from wsss.methods.optimiser import PolySchedule

STATE = "training.pt"


class Training:
    """A network with its optimiser and schedule, saved and loaded together.

    Args:
        network: on `device`.
        optimiser: of its parameters.
        schedule: of the optimiser's learning rates.
        device: where training happens.
        amp: whether to use mixed precision on a GPU.
        grad_clip: gradients of a larger norm are scaled down to it; 0 leaves them alone.
        more: further parts, by name, whose state belongs to the rest.
    """

    def __init__(
        self,
        network: nn.Module,
        optimiser: torch.optim.Optimizer,
        schedule: PolySchedule,
        device: torch.device,
        *,
        amp: bool,
        grad_clip: float,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        self.network = network
        self.optimiser = optimiser
        self.schedule = schedule
        self.device = device
        self.amp = amp and device.type == "cuda"
        self.grad_clip = grad_clip
        self.more = dict(more or {})
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.amp)

    @property
    def lr(self) -> float:
        """The learning rate of the pretrained layers."""
        return float(self.optimiser.param_groups[0]["lr"])

    def autocast(self) -> torch.autocast:
        """Return the context in which the network is applied."""
        return torch.autocast(self.device.type, enabled=self.amp)

    def step(self, loss: Tensor) -> None:
        """Take one step down the gradient of a loss, a scalar."""
        self.clear()
        self.backward(loss)
        self.update()

    def clear(self) -> None:
        """Begin a step whose loss comes in parts."""
        self.optimiser.zero_grad(set_to_none=True)

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a part of the loss, a scalar."""
        torch.autograd.backward(self.scaler.scale(loss))

    def update(self) -> None:
        """Take the step down the gradient of all parts."""
        if self.grad_clip:
            self.scaler.unscale_(self.optimiser)
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.grad_clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.schedule.step()

    def save(self, folder: Path) -> None:
        """Write everything that a later step depends on."""
        parts = self._parts()
        torch.save({name: part.state_dict() for name, part in parts.items()}, folder / STATE)

    def load(self, folder: Path) -> None:
        """Go on from what `save` wrote."""
        state = torch.load(folder / STATE, map_location=self.device, weights_only=True)
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def continue_from(self, folder: Path) -> None:
        """Go on from what another's `save` wrote, with this one's own learning rates, momentum and decay."""
        own = [{k: v for k, v in group.items() if k != "params"} for group in self.optimiser.param_groups]
        base = self.schedule.base_lrs
        self.load(folder)
        for group, values in zip(self.optimiser.param_groups, own, strict=True):
            group.update(values)
        self.schedule.base_lrs = base
        self.schedule.apply()

    def write_weights(self, path: Path, network: nn.Module | None = None) -> None:
        """Write the network's tensors, or those of another one, as safetensors."""
        tensors = (network or self.network).state_dict()
        save_file({k: v.contiguous().cpu() for k, v in tensors.items()}, path)

    def _parts(self) -> dict[str, Any]:
        return {
            "network": self.network,
            "optimiser": self.optimiser,
            "schedule": self.schedule,
            "scaler": self.scaler,
            **self.more,
        }


def epoch_seed(seed: int, epoch: int) -> int:
    """Return the seed of an epoch: every one seeds itself, so that resuming needs no generator states."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
