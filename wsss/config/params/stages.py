"""The parameters of every stage: names, types, ranges and defaults.

They are *resolved*, as artefact keys hash them: a method's name is replaced by its parts before (see
`wsss.config.params.methods`), so that two spellings of one thing give one artefact.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from wsss.config.params.base import (
    Batch,
    CrfParams,
    Epochs,
    Folder,
    LearningParams,
    LongSide,
    NonNegativeFloat,
    Params,
    PositiveFloat,
    PositiveInt,
    Probability,
    Radius,
    Scales,
    Side,
    Word,
)
from wsss.config.params.classifier import (
    ClassifierParams,
    ConcentrationParams,
    DistillationParams,
    EntropyParams,
    MixingParams,
    RungParams,
    TrainingParams,
    classifier_params,
)
from wsss.config.params.segmentation import (
    SegmentationCrfParams,
    SegmentationLossParams,
    SegmentationsParams,
    SegmenterParams,
)

__all__ = [
    "ClassifierParams",
    "ConcentrationParams",
    "CrfParams",
    "DistillationParams",
    "EntropyParams",
    "LearningParams",
    "MixingParams",
    "NonNegativeFloat",
    "Params",
    "PositiveFloat",
    "PositiveInt",
    "Probability",
    "RungParams",
    "SegmentationCrfParams",
    "SegmentationLossParams",
    "SegmentationsParams",
    "SegmenterParams",
    "TrainingParams",
    "classifier_params",
]
"""Names that other modules import from here; some are defined in the files beside this one."""


class CamsParams(Params):
    """Multi-scale class activation maps with mirrored copies."""

    scales: Scales = (0.5, 1.0, 1.5, 2.0)
    flip: bool = True
    size: LongSide | None = None
    """Long side, in pixels, of an image at scale 1; `null` keeps the photo's own size."""
    registration: Literal["exact", "legacy"] = "exact"
    """`legacy` repeats a known bug: maps are stretched to a multiple of 16 and cropped, mirrored ones before
    they are mirrored back, so that they lie beside the object."""
    head: Literal["classes", "subcategories"] = "classes"
    """`subcategories`: each class's map is the largest of its sub-categories' sums, as a diagnostic."""
    switches: ClassVar[tuple[str, ...]] = ("registration", "head")


class AffinityLabelsParams(Params):
    """Which pixels can be trusted: where a mask with a strong background shows a class, and where one with
    a weak background shows none. Both go through a dense CRF."""

    low: PositiveFloat = 4.0
    """Exponent of the strong background, (1 − largest CAM)^low."""
    high: PositiveFloat = 32.0
    """Exponent of the weak background."""
    thresholds: tuple[Probability, Probability] | None = None
    """Instead of exponents, the CAM above which a class is sure and below which background is: IRNet's rule,
    there [0.3, 0.05]."""
    crf: CrfParams = CrfParams()

    @model_validator(mode="after")
    def _strong_is_stronger(self) -> AffinityLabelsParams:
        if self.low >= self.high:
            raise ValueError(f"`low` is {self.low:g}, but must be below `high`, which is {self.high:g}")
        if self.thresholds is not None and self.thresholds[0] <= self.thresholds[1]:
            raise ValueError(f"`thresholds` is {list(self.thresholds)}, but must be [higher, lower]")
        return self


class AffinityParams(TrainingParams):
    """A network that learns which neighbouring cells belong together."""

    kind: Literal["affinity", "boundary"] = "affinity"
    """`affinity`: features in which neighbours are alike (AffinityNet). `boundary`: where objects end, on a
    backbone that doesn't learn (IRNet)."""
    radius: Radius = 5
    """Pairs of cells closer than this are learnt from; IRNet has 10."""
    pairs: Literal["full", "cropped"] = "full"
    """`cropped` repeats a known bug: pairs near edges are left out, some cells are in none."""
    epochs: Epochs = 8
    batch: Batch = 8
    long_side: tuple[Side, Side] = (320, 640)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.kind == "boundary" and self.pairs == "cropped":
            raise ValueError("`pairs: cropped` belongs to `kind: affinity`")
        return self


class RandomWalkParams(Params):
    """A random walk over the affinities of an image: what all kinds of walk have in common."""

    beta: PositiveFloat = 8.0
    """Affinities are taken to this power: larger means sharper."""
    log_steps: Annotated[int, Field(ge=0, le=12)] = 8
    """The walk takes 2 to this power steps."""
    radius: Radius = 5
    """A step leads to cells closer than this."""
    pairs: Literal["full", "cropped"] = "full"
    """`cropped` repeats a known bug: cells near three corners have no neighbours, and scores there stay."""
    memory: PositiveFloat = 4.0
    """GiB that an image may take. A photo that needs more, or more than is free, walks as a smaller copy."""
    switches: ClassVar[tuple[str, ...]] = ("pairs",)


class WalkParams(RandomWalkParams):
    """A random walk of CAMs over the affinities of their image, and the background's part in it."""

    background_exponent: PositiveFloat = 16.0
    """The background walks too, from the score (1 − largest CAM) to this power."""
    background_threshold: Probability | None = None
    """Instead, only the classes walk, outside of boundaries, and what ends below this share of the largest
    score is background: IRNet's rule, there 0.25."""
    normalise: Literal["global", "class"] = "global"
    """Before `background_threshold`, scores are divided by the largest of all, or each class's by its own."""
    crf: bool = False
    """Whether a dense CRF follows the walk."""
    switches: ClassVar[tuple[str, ...]] = ("pairs", "normalise")

    @model_validator(mode="after")
    def _threshold_for_its_switch(self) -> Self:
        if self.normalise != "global" and self.background_threshold is None:
            raise ValueError("`normalise: class` needs a `background_threshold`")
        return self


class WalkStageParams(RandomWalkParams):
    """A random walk whose scores are kept, so that many settings of the background cost one walk."""

    background_exponents: Annotated[tuple[PositiveFloat, ...], Field(max_length=64)] = ()
    """The exponents whose backgrounds walk along, one map each. Without any, only the classes walk, outside
    of boundaries, for `background_threshold`."""


class WalkedParams(Params):
    """What follows a walk whose scores were kept: the background, and a CRF."""

    background_exponent: PositiveFloat | None = None
    """One of the `walk`'s `background_exponents`."""
    background_threshold: Probability | None = None
    """As in `walk`: what ends below this share of the largest score is background."""
    normalise: Literal["global", "class"] = "global"
    """As in `walk`."""
    crf: bool = False
    """Whether a dense CRF follows."""

    @model_validator(mode="after")
    def _one_background(self) -> Self:
        if (self.background_exponent is None) == (self.background_threshold is None):
            raise ValueError("`walked` takes either `background_exponent` or `background_threshold`")
        if self.normalise != "global" and self.background_threshold is None:
            raise ValueError("`normalise: class` needs a `background_threshold`")
        return self


class PseudoMasksParams(Params):
    """From CAMs to one label per pixel, by a dense CRF or, with `walk` or `walked`, by a random walk."""

    background_exponent: PositiveFloat = 4.0
    """Without a walk: the background's score is (1 − largest CAM) to this power."""
    crf: CrfParams = CrfParams()
    walk: WalkParams | None = None
    walked: WalkedParams | None = None
    """Reads the scores that an earlier stage `walk` kept."""
    confidence: bool = False
    """Whether to keep the winner's share of all scores in each pixel, for `ignore_below`."""
    switches: ClassVar[tuple[str, ...]] = ("walk", "walked", "confidence")

    @model_validator(mode="after")
    def _one_walk(self) -> Self:
        if self.walk is not None and self.walked is not None:
            raise ValueError("`pseudo_masks` takes either `walk` or `walked`, the scores of an earlier one")
        return self


class FeaturesParams(Params):
    """A classifier's pooled features of every training image."""

    size: LongSide | None = None
    """Long side, in pixels, at which an image is shown; `null` keeps the photo's own size."""
    embedding: Literal["pooled", "class_token"] = "pooled"
    """`class_token`: a vision transformer's token of the whole image, instead of the mean of its patches."""
    switches: ClassVar[tuple[str, ...]] = ("embedding",)


class SubcategoriesParams(Params):
    """Clusters of each class's training images."""

    algorithm: Literal["kmeans", "finch"] = "kmeans"
    clusters: Annotated[int, Field(gt=0, le=10_000)] = 10
    """k-means: clusters a class, at most one for every five of its images."""
    level: Annotated[int, Field(ge=0, le=1000)] | None = None
    """FINCH: level of its hierarchy, 0 the finest; `null` the coarsest."""
    normalise: bool = False
    """Scale features to length 1 before k-means."""
    control: Literal["none", "random"] = "none"
    """`random` deals images out to clusters of the same sizes: the control that a method must beat."""


class ImportParams(Params):
    """CAMs, masks or segmentations that another program made: one file an image, in one folder."""

    cams: Folder | None = None
    """`<id>.npy`, `<id>.npz` or `<id>.pt`, in a layout that `import` knows, or with named arrays."""
    masks: Folder | None = None
    """`<id>.png` with 0 for background and n for the n-th class: pseudo masks of images with labels."""
    segmentations: Folder | None = None
    """`<id>.png` likewise, or arrays of ids or scores: what a network made of the `test` images."""
    maps: Word | None = None
    """The name of the array of maps, or of scores; None for a layout that `import` knows."""
    keys: Word | None = None
    """The name of the array of the maps' classes; None with `maps`: there is one map of every class."""
    missing: Literal["error", "zero"] = "error"
    """`error` refuses a file that lacks the map of a class that its labels name, or the label of a pixel
    (255). `zero` takes the map for empty; the pixel counts as background in scores, and no segmenter learns
    from it."""
    switches: ClassVar[tuple[str, ...]] = ("missing", "maps", "keys")

    @property
    def kind(self) -> str:
        """The kind of artefact that the import makes."""
        return (
            "pseudo_masks" if self.masks is not None else "cams" if self.cams is not None else "segmentations"
        )

    def content(self) -> dict[str, Any]:
        # The files count, not where they lie.
        found = super().content()
        return {"kind": self.kind, **{name: found[name] for name in self.switches if name in found}}

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if [self.cams, self.masks, self.segmentations].count(None) != 2:
            raise ValueError(
                "`import` takes one of `cams: FOLDER`, `masks: FOLDER` and `segmentations: FOLDER`"
            )
        if self.missing != "error" and self.segmentations is not None:
            raise ValueError("`missing` belongs to `cams` and `masks`")
        if self.keys is not None and self.cams is None:
            raise ValueError("`keys` belongs to `cams`")
        if self.maps is not None and self.masks is not None:
            raise ValueError("`maps` belongs to `cams` and `segmentations`")
        if self.keys is not None and self.maps is None:
            raise ValueError("`keys` are the classes of `maps`, which is missing")
        return self
