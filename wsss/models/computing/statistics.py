"""The statistics that a network's input is normalised with."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class HasStatistics(Protocol):
    """A network that tells the mean and the standard deviation of each channel of its input, in [0, 1]."""

    @property
    def mean(self) -> tuple[float, float, float]: ...

    @property
    def std(self) -> tuple[float, float, float]: ...


def channel_statistics(network: HasStatistics, photos: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation, both float32[1, 3, 1, 1], on the device of the photos."""
    mean, std = (photos.new_tensor(values).view(1, 3, 1, 1) for values in (network.mean, network.std))
    return mean, std
