"""The facts of stage `segmenter`: a segmentation network that learns from one label per pixel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wsss.config.params.stages import Params, PseudoMasksParams, SegmenterParams
from wsss.config.stage import BACKBONE, CROP, STAGES, StageKind
from wsss.errors import ConfigError, Problem
from wsss.models.kind import backbone_class, dense_class, freeze_problem, weights_rest_on
from wsss.models.pretrained.weights import weights_identity
from wsss.stages.kinds.training.files import SEGMENTER_ABOUT, SEGMENTER_WEIGHTS

if TYPE_CHECKING:
    from wsss.data.view import DataView


@STAGES.register
class Segmenter(StageKind[SegmenterParams]):
    name = "segmenter"
    params = SegmenterParams
    work = "wsss.stages.training.segmenter:Segmenter"
    rests_on = ()
    needs = ("pseudo_masks",)
    paths = ("weights",)
    seeded = True
    segments = True
    grows = ""

    @classmethod
    def known_as(cls, params: SegmenterParams) -> tuple[str, str]:
        return params.method_name, params.backbone

    @classmethod
    def reads(cls, params: SegmenterParams) -> tuple[str, ...]:
        return () if params.supervision == "masks" else cls.needs

    @classmethod
    def check_sources(cls, params: SegmenterParams, sources: Mapping[str, Params]) -> None:
        source = sources.get("pseudo_masks")
        if params.ignore_below and not (isinstance(source, PseudoMasksParams) and source.confidence):
            message = f"is {params.ignore_below:g}, but how sure its pseudo masks are isn't kept"
            raise ConfigError(Problem("ignore_below", message, "`pseudo_masks: {confidence: true}`"))

    @classmethod
    def weights_rest_on(cls, backbone: str) -> tuple[str, ...] | None:
        return weights_rest_on(backbone)

    @classmethod
    def revision(cls, params: SegmenterParams, sources: Mapping[str, Params]) -> int:
        """1 with depthwise convolutions: their sums and gradients are now added in another order."""
        return int(backbone_class(params.backbone).depthwise)

    @classmethod
    def consumes(cls, params: SegmenterParams, data: DataView) -> Mapping[str, str]:
        check_backbone(params)
        if params.patience and not data.holdout:
            message = "needs images to compare with, but the hold-out is empty"
            raise ConfigError(Problem("patience", message, "give `data.holdout` a share, such as 0.05"))
        masks = {"masks": data.mask_key(data.train)} if params.supervision == "masks" else {}
        holdout = {"holdout": data.image_key(data.holdout)} if params.patience else {}
        return {
            **masks,
            **holdout,
            "train": data.image_key(data.train),
            "weights": weights_identity(params.backbone, params.weights),
        }

    @classmethod
    def shown(cls, record: Mapping[str, Any]) -> dict[str, str]:
        return {".safetensors": SEGMENTER_WEIGHTS, ".json": SEGMENTER_ABOUT}

    @classmethod
    def small(cls, raw: Mapping[str, Any]) -> dict[str, Any]:
        small = {"backbone": BACKBONE, "weights": "package", "freeze": "none", "iterations": 2, "batch": 4}
        return {**raw, **small, "accumulate": 1, "crop": CROP + 1, "scales": [1.0, 0.5]}

    @classmethod
    def passes(cls, params: SegmenterParams, facts: Mapping[str, Any]) -> float:
        area = sum(scale**2 for scale in params.scales)
        images = max(1, int(facts["images"]))
        if params.iterations is None:
            return params.epochs * area
        return params.iterations * min(params.batch, images) / images * area

    @classmethod
    def alike(cls, params: SegmenterParams) -> tuple[Any, ...]:
        # Small parts keep a device less busy.
        return (params.freeze, params.supervision, -(-params.batch // params.accumulate))


def check_backbone(params: SegmenterParams) -> None:
    """Raise `ConfigError` for a backbone that can't be dense, or without the tap that `freeze` names."""
    problem = freeze_problem(dense_class(params.backbone), params.freeze)
    if problem is not None:
        raise ConfigError(problem)
