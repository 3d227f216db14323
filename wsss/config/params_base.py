"""What all groups of parameters are, and the groups that several stages share."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(gt=0)]


class Params(BaseModel):
    """Base of all parameter groups: immutable, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    switches: ClassVar[tuple[str, ...]] = ()
    """Keys that are left out of artefact keys while they are off, which is their default: a switch that
    is added to a stage later makes no finished artefact outdated."""

    def content(self) -> dict[str, Any]:
        """Return what an artefact's key is made of, as JSON."""
        result: dict[str, Any] = self.model_dump(mode="json")
        for name in self.switches:
            if getattr(self, name) == type(self).model_fields[name].default:
                del result[name]
        for name in result:
            value = getattr(self, name)
            if isinstance(value, Params):
                result[name] = value.content()
        return result


class LearningParams(Params):
    """How a network is trained on crops by stochastic gradient descent."""

    backbone: str = "resnet50"
    weights: str = "package"
    """`package` (shipped in an installed package), `download`, `none` (random), or a file."""
    freeze: str = "default"
    """`default` (what the backbone declares), `none`, `all`, or the tap up to which nothing learns."""
    epochs: PositiveInt = 15
    batch: Annotated[int, Field(ge=2)] = 16
    lr: PositiveFloat = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NonNegativeFloat = 5e-4
    head_multiplier: PositiveFloat = 10.0
    """Learning rate of the new head over that of the pretrained layers."""
    poly_power: NonNegativeFloat = 0.9
    grad_clip: NonNegativeFloat = 1.0
    """Largest gradient norm; 0 switches clipping off."""
    crop: Annotated[int, Field(ge=32)] = 448
    color_jitter: bool = True
    amp: bool = True
    """Mixed precision, on GPUs only."""


class CrfParams(Params):
    """Dense CRF: a smoothness kernel on positions, an appearance kernel on positions and colours."""

    gaussian_sigma: PositiveFloat = 3.0
    gaussian_weight: NonNegativeFloat = 3.0
    bilateral_sigma: PositiveFloat = 80.0
    bilateral_color_sigma: PositiveFloat = 13.0
    bilateral_weight: NonNegativeFloat = 10.0
    iterations: PositiveInt = 10
