"""In which numbers networks compute on a GPU, and what a record says of them. On a CPU it is float32,
always."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


class _Asked(Protocol):
    @property
    def amp(self) -> bool: ...

    @property
    def tf32(self) -> bool: ...


@dataclass(frozen=True)
class Precision:
    """How a network is trained, and later applied.

    Args:
        amp: whether convolutions and products of matrices are computed in 16 bits.
        tf32: whether those that stay in float32 may round their inputs to TF32's 10 bits.
    """

    amp: bool = False
    tf32: bool = False

    @classmethod
    def of(cls, params: _Asked) -> Precision:
        """Return what the parameters of a training ask for."""
        return cls(params.amp, params.tf32)

    def kind(self, device: torch.device) -> torch.dtype:
        """Return what autocast computes in on a device: float32 without mixed precision."""
        return amp_type() if self.amp and device.type == "cuda" else torch.float32

    def autocast(self, device: torch.device) -> torch.autocast:
        """Return the context in which the network is applied."""
        if not self.amp or device.type != "cuda":
            return torch.autocast(device.type, enabled=False)
        return torch.autocast(device.type, dtype=amp_type())

    def facts(self, device: torch.device) -> dict[str, Any]:
        """Return, for a record, what a network computed in on a GPU; nothing on a CPU."""
        if device.type != "cuda":
            return {}
        kind = str(self.kind(device)).removeprefix("torch.")
        return {"amp": kind if self.amp else "off", "tf32": self.tf32}


def amp_type() -> torch.dtype:
    """Return the 16 bits of this process's card: bfloat16, whose range is float32's, where the card computes
    in it, else float16, whose gradients have to be scaled."""
    bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if bf16 else torch.float16


def placed(network: Network, device: torch.device | str, precision: Precision) -> Network:
    """Return a network on its device. From now on the process computes with its TF32 or without."""
    place = torch.device(device)
    if place.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = precision.tf32
        torch.backends.cudnn.allow_tf32 = precision.tf32
    network.precision = precision  # type: ignore[assignment]  # torch types modules' attributes as tensors
    return network.to(place)


def sent(tensor: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """Return a tensor on a device. A GPU fetches it from pinned memory while this process goes on."""
    place = torch.device(device)
    if place.type != "cuda" or tensor.is_cuda:
        return tensor.to(place)
    pinned = tensor if tensor.is_pinned() else tensor.pin_memory()
    return pinned.to(place, non_blocking=True)


def applied(network: object, device: torch.device | str) -> torch.autocast:
    """Return the context in which a trained network is applied: as in its training."""
    precision = getattr(network, "precision", None)
    return (precision if isinstance(precision, Precision) else Precision()).autocast(torch.device(device))


@contextmanager
def fixed_sizes(device: torch.device) -> Iterator[None]:
    """Inside, cuDNN tries its algorithms on each new size and keeps the fastest: for crops, all of one
    size."""
    if device.type != "cuda":
        yield
        return
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def card_facts(device: torch.device | str) -> dict[str, Any]:
    """Return, for a record, what of a GPU decides over the last bits of numbers; nothing of a CPU."""
    place = torch.device(device)
    if place.type != "cuda":
        return {}
    return {
        "card": torch.cuda.get_device_name(place),
        "capability": ".".join(map(str, torch.cuda.get_device_capability(place))),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }
