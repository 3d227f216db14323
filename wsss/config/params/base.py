"""What all groups of parameters are, and the groups that several stages share."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from wsss.config.text.paths import check_path
from wsss.errors import quoted

MOST = 10**9
"""No number of a study is larger; what takes time or memory has a limit of its own."""
PositiveFloat = Annotated[float, Field(gt=0, le=MOST, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, le=MOST, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(gt=0, le=MOST)]
MOST_EPOCHS = 10_000
Epochs = Annotated[int, Field(gt=0, le=MOST_EPOCHS)]
Batch = Annotated[int, Field(ge=2, le=65_536)]
Crop = Annotated[int, Field(ge=32, le=4096)]
Side = Annotated[int, Field(gt=0, le=32_768)]
"""Of a photo, in pixels."""
LongSide = Annotated[int, Field(ge=32, le=32_768)]
Radius = Annotated[int, Field(ge=2, le=64)]
"""Around a cell, in cells; the number of a picture's pairs grows with its square."""
Scale = Annotated[float, Field(gt=0, le=16, allow_inf_nan=False)]
Scales = Annotated[tuple[Scale, ...], Field(min_length=1, max_length=32)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Word = Annotated[str, Field(min_length=1, max_length=200)]


def _backbone(name: str) -> str:
    if len(name) > 100 or not re.fullmatch(r"(timm/)?\w+(\.\w+)?", name, re.ASCII):
        raise ValueError(
            f"`backbone` is {quoted(name)}, but must be a name, or `timm/NAME`: nothing else is looked for"
        )
    return name


def _path(path: AnyPath) -> AnyPath:
    if message := check_path(path):
        raise ValueError(f"a path {message}")
    return path


AnyPath = TypeVar("AnyPath", str, Path)
Backbone = Annotated[str, AfterValidator(_backbone)]
FileName = Annotated[str, Field(min_length=1), AfterValidator(_path)]
Folder = Annotated[Path, AfterValidator(_path)]


def wrong(
    message: str, hint: str = "", *, about: str = "", near: object = "", to: Sequence[str] = ()
) -> PydanticCustomError:
    """Return an error for a validator to raise; people read its message unchanged.

    Args:
        message: the message.
        hint: what to do; left out, the name nearest to `near` among those of `to`.
        about: what the key is at which it stands: the message then begins with both.
        near: the word that was given.
        to: the words that may stand there.
    """
    context = {"message": message, "hint": hint, "about": about, "near": near, "to": to}
    return PydanticCustomError("wrong", "{message}", context)


def all_wrong(problems: Mapping[tuple[Any, ...], PydanticCustomError]) -> ValidationError:
    """Return several errors as one, each at its place below what is validated."""
    errors: list[InitErrorDetails] = [
        {"type": error, "loc": place, "input": None} for place, error in problems.items()
    ]
    return ValidationError.from_exception_data("several", errors)


@dataclass(frozen=True)
class Whole:
    """Marks a field of pydantic as a whole number in [`least`, `most`]: 2, but neither 2.0 nor "2"."""

    least: int
    most: int

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        within = core_schema.int_schema(ge=self.least, le=self.most)
        return core_schema.with_info_before_validator_function(self._check, within)

    def _check(self, value: Any, info: core_schema.ValidationInfo) -> Any:
        if type(value) is not int or not self.least <= value <= self.most:
            expected = f"a whole number from {self.least} to {self.most}"
            raise wrong(f"`{info.field_name}` is {quoted(value)}, but must be {expected}")
        return value


class StudyPart(BaseModel):
    """Base of all that stands in a study file: immutable, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _is_number(annotation: object) -> bool:
    """Whether a field takes numbers and no truth values."""
    kinds = {annotation}
    while parts := {part for kind in kinds for part in get_args(kind)} - kinds:
        kinds |= parts
    return not {bool, object, Any} & kinds and bool({int, float} & kinds)


class Group(StudyPart):
    """Base of all groups of parameters."""

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_numbers(cls, value: object, info: ValidationInfo) -> object:
        """Refuse true and false where a number is expected: Python takes them for 1 and 0."""
        name = info.field_name or ""
        values = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(one, bool) for one in values) and _is_number(cls.model_fields[name].annotation):
            raise ValueError(f"`{name}` is {quoted(value)}, but must be numbers, neither true nor false")
        return value


class Params(Group):
    """Base of the parameters of stages. A study may write a search variable in the place of each."""

    switches: ClassVar[tuple[str, ...]] = ()
    """Keys that artefact keys leave out while they have their default, which means off: a switch that a stage
    gets later outdates no finished artefact."""

    def content(self) -> dict[str, Any]:
        """Return the parameters as an artefact's key hashes them, as JSON."""
        result: dict[str, Any] = self.model_dump(mode="json")
        for name in self.switches:
            if getattr(self, name) == type(self).model_fields[name].default:
                del result[name]
        for name in result:
            value = getattr(self, name)
            if isinstance(value, Params):
                result[name] = value.content()
        return result


NO_WEIGHTS = "none"
KNOWN_WEIGHTS = ("package", "download", NO_WEIGHTS)
"""Initial weights of which it is known what they have learnt from: what else stands there is a file."""


class LearningParams(Params):
    """How a network is trained on crops by stochastic gradient descent."""

    backbone: Backbone = "resnet50"
    weights: FileName = "package"
    """`package` (shipped in an installed package), `download`, `none` (random), or a file."""
    freeze: Word = "default"
    """`default` (what the backbone declares), `none`, `all`, or the tap up to which nothing learns."""
    epochs: Epochs = 15
    batch: Batch = 16
    lr: PositiveFloat = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NonNegativeFloat = 5e-4
    head_multiplier: PositiveFloat = 10.0
    """Learning rate of the new head over that of the pretrained layers."""
    poly_power: NonNegativeFloat = 0.9
    grad_clip: NonNegativeFloat = 1.0
    """Largest gradient norm; 0 switches clipping off."""
    crop: Crop = 448
    color_jitter: bool = True
    amp: bool = True
    """Mixed precision, on GPUs only: bfloat16, or float16 with scaled gradients on a card without it."""
    tf32: bool = False
    """Whether float32 convolutions and products may round their inputs to TF32's 10 bits, on GPUs only."""
    compile: bool = False
    """Whether `torch.compile` translates the network before it is trained. It takes minutes and pays for long
    trainings on a GPU; sums are added in another order."""
    switches: ClassVar[tuple[str, ...]] = ("tf32", "compile")


class CrfParams(Params):
    """Dense CRF: a smoothness kernel on positions, an appearance kernel on positions and colours."""

    gaussian_sigma: PositiveFloat = 3.0
    gaussian_weight: NonNegativeFloat = 3.0
    bilateral_sigma: PositiveFloat = 80.0
    bilateral_color_sigma: PositiveFloat = 13.0
    bilateral_weight: NonNegativeFloat = 10.0
    iterations: Annotated[int, Field(gt=0, le=1000)] = 10
