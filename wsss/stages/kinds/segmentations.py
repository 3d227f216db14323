"""The facts of stage `segmentations`: masks of photos without labels, by a segmentation network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from wsss.config.params.pixel_head import PixelHeadParams, ProbabilitiesParams
from wsss.config.params.stages import Params, SegmentationsParams, SegmenterParams
from wsss.config.stage import MEANS, STAGES, Place, Scored, StageKind
from wsss.errors import ConfigError, Problem

if TYPE_CHECKING:
    from wsss.data.view import DataView


P = TypeVar("P", SegmentationsParams, ProbabilitiesParams)


class SegmentingKind(StageKind[P]):
    """The facts that stages share whose work is a segmentation network's, at several scales."""

    needs = ("segmenter",)

    @classmethod
    def notes(cls, params: P, sources: Mapping[str, Params]) -> dict[str, Any]:
        """Return the scales at which photos are segmented: the stage's own, or those of the training."""
        source = sources.get("segmenter")
        trained = source.scales if isinstance(source, SegmenterParams | PixelHeadParams) else ()
        return {"scales": list(params.scales or trained)}

    @classmethod
    def passes(cls, params: P, facts: Mapping[str, Any]) -> float:
        scales = facts.get("notes", {}).get("scales") or params.scales or ()
        return sum(scale**2 for scale in scales) * (1 + params.flip)


@STAGES.register
class Segmentations(SegmentingKind[SegmentationsParams]):
    name = "segmentations"
    params = SegmentationsParams
    work = "wsss.stages.segmentations:Segmentations"
    rests_on = ()
    version = 2
    scored = Scored("masks", "segmentation", 2, "segmentation", on="test")
    lists = ("select", "test")
    means = (*MEANS, "crf")

    @classmethod
    def consumes(cls, params: SegmentationsParams, data: DataView) -> Mapping[str, str]:
        return {"images": data.photo_key(segmented_ids(data))}

    @classmethod
    def small(cls, raw: Mapping[str, Any]) -> dict[str, Any]:
        params = {**raw, "scales": [1.0]}
        if params.get("crf") is not None:
            params["crf"] = {**params["crf"], "iterations": 2}
        return params

    @classmethod
    def alike(cls, params: SegmentationsParams) -> tuple[Any, ...]:
        # A CRF's time does not depend on scales: with one, times at other scales can't be compared.
        if params.crf is None:
            return ()
        return (params.crf.iterations, params.scales, params.flip)

    @classmethod
    def placed(cls, params: SegmentationsParams) -> Place:
        return "device" if params.crf is None else "device and pool"


def segmented_ids(data: DataView) -> list[str]:
    """Return the ids of all images that are segmented, sorted. Raises `ConfigError` without `data.test`."""
    if not data.test:
        message = "`segmentations` are scored on `data.test`, which is missing"
        raise ConfigError(Problem("segmentations", message, "such as `test: {split: val}`"))
    return sorted({*data.select, *data.test})
