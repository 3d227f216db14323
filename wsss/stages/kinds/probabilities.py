"""The facts of stage `probabilities`: maps of the probabilities that a segmentation network gives to the
classes of a photo's labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wsss.config.params.pixel_head import ProbabilitiesParams
from wsss.config.stage import STAGES
from wsss.stages.kinds.segmentations import SegmentingKind

if TYPE_CHECKING:
    from wsss.data.view import DataView


@STAGES.register
class Probabilities(SegmentingKind[ProbabilitiesParams]):
    name = "probabilities"
    params = ProbabilitiesParams
    work = "wsss.stages.probabilities:Probabilities"
    rests_on = ()
    may_make = ("cams",)
    lists = ("labelled_ids",)

    @classmethod
    def makes(cls, params: ProbabilitiesParams) -> str:
        return "cams"

    @classmethod
    def consumes(cls, params: ProbabilitiesParams, data: DataView) -> Mapping[str, str]:
        return {"images": data.image_key(data.labelled_ids)}

    @classmethod
    def small(cls, raw: Mapping[str, Any]) -> dict[str, Any]:
        return {**raw, "scales": [1.0]}
