"""The parameters of the stages of a segmentation network."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from wsss.config.params.base import (
    Backbone,
    Batch,
    CrfParams,
    Crop,
    Epochs,
    LearningParams,
    NonNegativeFloat,
    Params,
    PositiveFloat,
    Probability,
    Scales,
    Word,
)


class SegmentationLossParams(Params):
    """How a segmentation network's answers are compared with labels, pixel by pixel."""

    kind: Literal["cross_entropy", "balanced", "bootstrapped"] = "cross_entropy"
    """`balanced`: the pixels of the background and those of all classes count one half each. `bootstrapped`:
    the labels are trusted in part, the network's own answer for the rest."""
    trust: Probability = 0.8
    """`bootstrapped`: how far the labels are trusted."""


class SegmenterParams(LearningParams):
    """A segmentation network, DeepLabv2, that learns from one label per pixel."""

    supervision: Literal["pseudo_masks", "masks"] = "pseudo_masks"
    """`masks` trains on pixel masks: the fully supervised upper bound."""
    backbone: Backbone = "resnet101"
    freeze: Word = "none"
    epochs: Epochs = 20
    iterations: Annotated[int, Field(gt=0, le=10_000_000)] | None = None
    """Instead of `epochs`: stop after so many updates of the weights."""
    batch: Batch = 10
    accumulate: Annotated[int, Field(gt=0, le=65_536)] = 1
    """Parts in which a batch goes through the network, to save memory; the update is that of the whole
    batch."""
    lr: PositiveFloat = 2.5e-4
    grad_clip: NonNegativeFloat = 0.0
    crop: Crop = 321
    resize: Scales = (0.5, 0.75, 1.0, 1.25, 1.5)
    """Factors, one of which a photo is resized by before cropping."""
    color_jitter: bool = False
    scales: Scales = (1.0, 0.75, 0.5)
    """Scales at which a crop goes through the network; `[1.0]` is a third of the work."""
    loss: SegmentationLossParams = SegmentationLossParams()
    ignore_below: Probability = 0.0
    """Labels whose confidence is lower are ignored; needs `pseudo_masks` with `confidence: true`."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Above 0: the weights that are kept are a moving average, of which each update replaces 1 − `ema`."""
    patience: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Above 0: training stops after so many epochs without gain on the hold-out's *pseudo* masks, and the
    best weights stay."""
    pretraining: Literal["unknown", "imagenet", "coco-segmentation"] = "unknown"
    """What the initial weights of a file have learnt from, for the record; `coco-segmentation` means pixel
    masks, and comparisons say so."""

    @property
    def method_name(self) -> str:
        """The name of a chain without a classifier, for display alone."""
        return "full_supervision" if self.supervision == "masks" else ""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if len(set(self.scales)) < len(self.scales):
            raise ValueError(f"`scales` is {list(self.scales)}, but must be different numbers")
        if self.accumulate > self.batch:
            raise ValueError(f"`accumulate` is {self.accumulate}, but a batch has {self.batch} images")
        if self.supervision == "masks" and (self.ignore_below or self.patience):
            raise ValueError("`ignore_below` and `patience` are about pseudo masks")
        return self


class SegmentationCrfParams(CrfParams):
    """A dense CRF after a segmentation network, as DeepLab's authors tuned it."""

    gaussian_sigma: PositiveFloat = 1.0
    bilateral_sigma: PositiveFloat = 67.0
    bilateral_color_sigma: PositiveFloat = 3.0
    bilateral_weight: NonNegativeFloat = 4.0


class SegmentationsParams(Params):
    """Masks of photos without labels, from a segmentation network."""

    scales: Scales | None = None
    """Scales at which a photo is segmented; the largest of its logits counts. `null`: the scales of the
    training."""
    flip: bool = False
    """Whether the mirrored photo counts, too."""
    crf: SegmentationCrfParams | None = None
    """A dense CRF afterwards, on the raw photo; `{}` is DeepLab's own."""
