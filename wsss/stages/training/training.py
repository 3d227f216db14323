"""What every stage that trains a network needs: batches, one optimiser step, and the state on disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from wsss.config.params.base import LearningParams
from wsss.config.params.classifier import TrainingParams
from wsss.data.batches.augment import Augmentation
from wsss.data.batches.loader import ClassificationBatches
from wsss.methods.optimiser import PolySchedule, build_optimiser
from wsss.models.backbone import BackboneNetwork
from wsss.models.computing.precision import Precision, fixed_sizes
from wsss.stages.contract import Context

STATE = "training.pt"
SCALES = (2.0**16, 2.0**12, 2.0**8, 2.0**4, 1.0)
"""Factors of a loss for gradients in float16; the first one that does not overflow counts."""
HOW = ("fused", "foreach")
"""Entries of an optimiser's groups that say how the device computes, not what: a checkpoint from another
device does not change them."""


class Training:
    """A network with its optimiser and schedule, saved and loaded together.

    Args:
        network: on `device`.
        optimiser: of its parameters.
        schedule: of the optimiser's learning rates.
        device: where training happens.
        precision: in which numbers, on a GPU.
        grad_clip: gradients of a larger norm are scaled down to it; 0 leaves them alone.
        compiled: whether `torch.compile` translates the network's `forward`.
        more: further parts, by name, whose state belongs to the rest.
    """

    def __init__(
        self,
        network: nn.Module,
        optimiser: torch.optim.Optimizer,
        schedule: PolySchedule,
        device: torch.device,
        *,
        precision: Precision,
        grad_clip: float,
        compiled: bool = False,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        self.network = network
        self.optimiser = optimiser
        self.schedule = schedule
        self.device = device
        self.precision = precision
        self.grad_clip = grad_clip
        self.more = dict(more or {})
        self.half = precision.kind(device) == torch.float16
        """Whether gradients pass through float16, in which small ones vanish unless the loss is scaled."""
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.half)
        if compiled:
            network.compile()

    @property
    def lr(self) -> float:
        """The learning rate of the pretrained layers."""
        return float(self.optimiser.param_groups[0]["lr"])

    @property
    def gradient_scales(self) -> tuple[float, ...]:
        """The factors with which to try a term's gradient."""
        return SCALES if self.half else (1.0,)

    def autocast(self) -> torch.autocast:
        """Return the context in which the network is applied."""
        return self.precision.autocast(self.device)

    def epoch(self) -> AbstractContextManager[None]:
        """Return the context of an epoch, whose batches are all of one size."""
        return fixed_sizes(self.device)

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
        """Go on from what `save` wrote, on any device and in any precision."""
        state = torch.load(folder / STATE, map_location=self.device, weights_only=True)
        how = [{name: group[name] for name in HOW if name in group} for group in self.optimiser.param_groups]
        for name, part in self._parts().items():
            # A disabled scaler saved nothing: this one starts with its own scale.
            if part is not self.scaler or state[name]:
                part.load_state_dict(state[name])
        for group, own in zip(self.optimiser.param_groups, how, strict=True):
            group.update(own)

    def continue_from(self, folder: Path) -> None:
        """Continue from what another training's `save` wrote, with this one's learning rates, momentum and
        decay."""
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


def begin_training(
    network: BackboneNetwork,
    params: LearningParams,
    device: torch.device,
    *,
    heads: Sequence[nn.Module],
    steps: int,
    more: Mapping[str, Any] | None = None,
) -> Training:
    """Return the training of a network that its parameters describe.

    Args:
        network: on `device`.
        params: learning rates, momentum, decay, clipping, precision.
        device: where training happens.
        heads: its layers that start from nothing.
        steps: after which the learning rate is 0.
        more: further parts, by name, whose state belongs to the rest.
    """
    optimiser = build_optimiser(
        network.backbone,
        heads,
        lr=params.lr,
        momentum=params.momentum,
        weight_decay=params.weight_decay,
        head_multiplier=params.head_multiplier,
    )
    return Training(
        network,
        optimiser,
        PolySchedule(optimiser, steps, params.poly_power),
        device,
        precision=Precision.of(params),
        grad_clip=params.grad_clip,
        compiled=params.compile,
        more=more,
    )


def photo_batches(
    context: Context, params: TrainingParams, network: BackboneNetwork, labels: npt.ArrayLike | None = None
) -> ClassificationBatches:
    """Return the batches of the photos in `train`, cut and coloured as the parameters say.

    Args:
        context: whose photos, seed, device and threads; one of these feeds the network.
        params: size of a batch, crops and colours.
        network: whose input's statistics count.
        labels: float32[N, C] of the photos; the data set's own when None.
    """
    crops = Augmentation(params.crop, params.long_side, params.color_jitter, network.mean, network.std)
    return ClassificationBatches(
        context.data.dataset,
        context.data.train,
        crops,
        labels,
        batch=params.batch,
        seed=context.seed,
        workers=context.threads - 1,
        device=context.device,
    )


class Sums:
    """Sums of scalars over an epoch, kept on the device: reading one makes the CPU wait for the GPU.

    Added up in float64, like Python's numbers.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add tensors without dimensions."""
        for name, value in values.items():
            exact = value.detach().double()
            self._sums[name] = self._sums[name] + exact if name in self._sums else exact

    def means(self, count: int) -> dict[str, float]:
        """Return every sum divided by `count`; the CPU waits once."""
        if not self._sums:
            return {}
        values: Iterable[float] = torch.stack(list(self._sums.values())).tolist()
        return {name: value / count for name, value in zip(self._sums, values, strict=True)}


def epoch_seed(seed: int, epoch: int) -> int:
    """Return the seed of an epoch: every one seeds itself, so that resuming needs no generator states."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
