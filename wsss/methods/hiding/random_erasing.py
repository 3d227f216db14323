"""Random erasing: a box of noise (Zhong et al., AAAI 2020), by torchvision."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import model_validator

from wsss.config.params.base import PositiveFloat, Probability
from wsss.config.parts import HIDINGS, HidingParams, WayToHide


class RandomErasingParams(HidingParams):
    """A box of random size, shape and place is erased."""

    area: tuple[Probability, Probability] = (0.02, 0.4)
    """Range of the box's share of the image."""
    ratio: tuple[PositiveFloat, PositiveFloat] = (0.3, 1 / 0.3)
    """Range of its height over its width."""
    fill: Literal["noise", "mean"] = "noise"
    """What is in its place: normal noise with the statistics of photos, or their mean colour."""

    @model_validator(mode="after")
    def _ranges_are_ordered(self) -> Self:
        for name in ("area", "ratio"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"`{name}` is [{low:g}, {high:g}], but must be [smallest, largest]")
        return self


@HIDINGS.register
class RandomErasing(WayToHide[RandomErasingParams]):
    """A box that doesn't fit into the image is drawn anew, up to ten times, as torchvision does."""

    name = "random_erasing"
    params = RandomErasingParams

    @classmethod
    def hide(cls, params: RandomErasingParams, image: Any, rng: Any) -> Any:
        import torch

        from wsss.models.backbones.torchvision_cpu import transforms

        value: Any = "random" if params.fill == "noise" else 0
        erase = transforms.RandomErasing(p=1, scale=params.area, ratio=params.ratio, value=value)
        with torch.random.fork_rng(devices=[]):  # torchvision draws from the generator of the process
            torch.default_generator.manual_seed(int(rng.integers(2**62)))
            return erase(image)
