"""The parameters of a classifier, and of the parts that it is put together from."""

from __future__ import annotations

import functools
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, create_model, model_serializer, model_validator

from wsss.config.params.base import (
    MOST_EPOCHS,
    Epochs,
    LearningParams,
    NonNegativeFloat,
    Params,
    PositiveFloat,
    Probability,
    Side,
    Word,
)
from wsss.config.parts import HIDINGS, REGULARISERS, HidingParams, MixingKind, RegulariserParams
from wsss.errors import ConfigError, Problem, quoted


class MixingParams(Params):
    """How the images of a batch are mixed, and their labels with them."""

    kind: MixingKind = "none"
    alpha: PositiveFloat = 0.2
    """Of Beta(alpha, alpha), from which the mixing weight is drawn."""
    probability: Probability = 1.0
    """Share of batches that are mixed."""
    per_sample: bool = False
    """One weight (and mask) per image instead of one per batch."""
    decay: PositiveFloat = 3.0
    """FMix: decay power of the masks' spectrum; larger means smoother masks."""
    max_soft: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """FMix: largest share of pixels on either side of the edge that ramp from 1 to 0."""
    sampler: Literal["isotropic", "legacy"] = "isotropic"
    """FMix: `legacy` repeats the collapsed spectrum of the first public code."""
    taps: Literal["all"] | Annotated[tuple[Word, ...], Field(min_length=1, max_length=64)] = "all"
    """Manifold Mixup: where to mix, `input` or taps of the backbone; `all` is all but the last tap."""
    fixed: Probability | None = None
    """Use this mixing weight instead of drawing one. 1 is a control: everything is as in the method, but no
    image is mixed."""
    switches: ClassVar[tuple[str, ...]] = ("fixed",)


class EntropyParams(RegulariserParams):
    """Penalty on undecided predictions, on the logits of the (mixed) images."""

    kind: Literal["bernoulli", "softmax"] = "bernoulli"
    of: Literal["predictions", "labels"] = "predictions"
    """`labels` repeats a known bug: the entropy of the label vectors, a constant that teaches nothing."""


class ConcentrationParams(RegulariserParams):
    """Penalty on the spatial variance of each present class's CAM."""

    coordinates: Literal["unit", "pixel", "scops", "legacy"] = "unit"
    """`unit`: the image is a unit square, the same strength at every map size. `legacy` repeats a known bug:
    `scops` units on a softmax over classes, which makes the term vanishingly small."""


class DistillationParams(Params):
    """Learning which sub-category a teacher sees, beside the hard sub-labels."""

    weight: Probability = 0.0
    """Share of distillation in the sub-category loss: 0 is hard labels alone, 1 distillation alone."""
    temperature: PositiveFloat = 2.0
    similarity_scale: PositiveFloat = 10.0
    """Sharpness of the teacher: its logits are this times the cosine to each cluster's mean."""


class RungParams(Params):
    """The quick CAM score that a classifier reports while it trains, on `select` images only."""

    images: Annotated[int, Field(ge=0, le=100_000)] = 48
    every: Epochs = 1


class TrainingParams(LearningParams):
    """Training on crops of photos whose long side is random."""

    long_side: tuple[Side, Side] = (256, 512)
    """Range, in pixels, of the random long side before cropping."""

    @property
    def middle(self) -> int:
        """The middle of `long_side`, in pixels: the size at which a network predicts best."""
        return sum(self.long_side) // 2

    @model_validator(mode="after")
    def _range_is_ordered(self) -> Self:
        low, high = self.long_side
        if low > high:
            raise ValueError(f"long_side is [{low}, {high}], but must be [shortest, longest]")
        return self


class ClassifierParams(TrainingParams):
    """An image classifier with global average pooling, trained on image-level labels."""

    mixing: MixingParams = MixingParams()
    entropy: EntropyParams = EntropyParams()
    concentration: ConcentrationParams = ConcentrationParams()
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of channels that are zeroed before the heads; ResNet-38 is published with 0.5."""
    subcategory_weight: NonNegativeFloat = 0.0
    """Weight of the sub-category loss; above 0 the classifier needs the artefact of `subcategories`."""
    distillation: DistillationParams = DistillationParams()
    rung: RungParams = RungParams()
    supervision: Literal["labels", "masks"] = "labels"
    """`masks` trains the class maps on pixel masks: a control that any method should lose to."""
    epochs: Annotated[int, Field(ge=0, le=MOST_EPOCHS)] = 15
    """0 trains nothing: the network is a published one, with `head: weights`."""
    head: Literal["new", "weights"] = "new"
    """`weights`: the class head, too, starts from the file of `weights`, which is a published classifier."""
    optimiser: Literal["sgd", "legacy"] = "sgd"
    """`legacy` repeats a known bug: the weight decay in momentum's place, a schedule too long to matter,
    a head that learns no faster than the rest."""
    span: tuple[Annotated[int, Field(ge=0, le=10_000)], Epochs] | None = None
    """Train only the epochs after the first number up to the second, on from the classifier before: one part
    of a schedule whose parameters change on the way."""
    class_maps: Word = "backbone"
    """The head that makes class maps and logits of features: the `backbone`'s own, mostly `convolution`, or
    another by its name."""
    switches: ClassVar[tuple[str, ...]] = (
        *TrainingParams.switches,
        "supervision",
        "optimiser",
        "dropout",
        "span",
        "head",
        "class_maps",
    )

    @property
    def regularisers(self) -> dict[str, RegulariserParams]:
        """The parameters of every regulariser, in the order in which they are added up."""
        groups = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: group for name, group in groups.items() if isinstance(group, RegulariserParams)}

    @property
    def hidings(self) -> dict[str, HidingParams]:
        """The parameters of every way to hide, in the order in which they hide."""
        groups = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: group for name, group in groups.items() if isinstance(group, HidingParams)}

    @model_serializer(mode="wrap")
    def _without_others_that_are_off(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out registered parts that are off, so that one that is added later changes no key."""
        result: dict[str, Any] = handler(self)
        groups: dict[str, RegulariserParams | HidingParams] = {**self.regularisers, **self.hidings}
        for name, group in groups.items():
            if name not in ClassifierParams.model_fields and group.off:
                result.pop(name, None)
        return result

    @property
    def begin(self) -> int:
        """Epochs that the classifier before this one has trained already."""
        return self.span[0] if self.span else 0

    @property
    def end(self) -> int:
        """The last epoch that is trained here."""
        return self.span[1] if self.span else self.epochs

    @property
    def method_name(self) -> str:
        """The name by which people know these parts, for display alone."""
        if self.freeze == "all":
            return "probe"
        if self.supervision == "masks":
            return "full_masks"
        mixing = {"none": "", "manifold": "manifold_mixup"}.get(self.mixing.kind, self.mixing.kind)
        names = [mixing, *(name for name, group in self.hidings.items() if not group.off)]
        if self.subcategory_weight:
            names.append("subcategory_teaching" if self.distillation.weight else "subcategories")
        return "+".join(filter(None, names)) or "cam"

    @model_validator(mode="after")
    def _span_lies_within(self) -> Self:
        if self.span and not self.span[0] < self.span[1] <= self.epochs:
            raise ValueError(
                f"`span` is {list(self.span)}, but must be [from, to] within {self.epochs} epochs"
            )
        return self

    @model_validator(mode="after")
    def _heads_are_published_or_trained(self) -> Self:
        if self.head == "weights" and self.weights in ("package", "download", "none"):
            raise ValueError(
                f"`head: weights` needs a published classifier, but `weights` is {self.weights!r}"
            )
        if not self.epochs and self.head == "new":
            raise ValueError(
                "`epochs` is 0, but must be greater than 0, unless `head: weights` takes a published one"
            )
        ways = {
            "mixing.kind": self.mixing.kind != "none",
            "subcategory_weight": self.subcategory_weight > 0,
            **{f"{name}.probability": not group.off for name, group in self.hidings.items()},
        }
        named = next((name for name, used in ways.items() if used), None)
        if not self.epochs and named:
            raise ValueError(f"`epochs` is 0, but `{named}` is a way to train")
        return self

    @model_validator(mode="after")
    def _masks_come_alone(self) -> ClassifierParams:
        others = {
            "mixing.kind": self.mixing.kind != "none",
            "subcategory_weight": self.subcategory_weight > 0,
        }
        if self.supervision == "masks" and any(others.values()):
            named = " and ".join(f"`{name}`" for name, used in others.items() if used)
            raise ValueError(f"`supervision: masks` is a control on its own, but {named} is set too")
        return self


TERMS = ("classification", "masks", "subcategories", "distillation", "method")
"""Names that no part may take: those of losses, and `method`, which stands for several parts."""


def classifier_params() -> type[ClassifierParams]:
    """Return the parameters of a classifier, with a group for every regulariser and every way to hide.

    Raises `ConfigError` for one that takes the name of something else."""
    added: dict[str, type[Params]] = {}
    kinds = ((REGULARISERS, RegulariserParams, "weight"), (HIDINGS, HidingParams, "probability"))
    for registry, base, strength in kinds:
        for entry in registry.values():
            field = ClassifierParams.model_fields.get(entry.name)
            if field is not None and field.annotation is entry.params:
                continue
            taken = field is not None or entry.name in TERMS or entry.name in added
            if taken or not issubclass(entry.params, base):
                what = (
                    f"can't be named {quoted(entry.name)}"
                    if taken
                    else f"has parameters without a {strength}"
                )
                message = f"{entry.__module__}.{entry.__qualname__} {what}"
                hint = (
                    f"a name that no parameter or loss has, and parameters that derive from {base.__name__}"
                )
                raise ConfigError(Problem(registry.what, message, hint))
            added[entry.name] = entry.params
    return _with_groups(tuple(added.items())) if added else ClassifierParams


@functools.cache
def _with_groups(groups: tuple[tuple[str, type[Params]], ...]) -> type[ClassifierParams]:
    fields: dict[str, Any] = {name: (group, group()) for name, group in groups}
    return create_model("ClassifierParams", __base__=ClassifierParams, **fields)
