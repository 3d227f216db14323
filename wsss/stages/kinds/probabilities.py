"""The facts of stage `probabilities`: maps of the probabilities that a segmentation network gives to the
classes of a photo's labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wsss.config.params.base import Params
from wsss.config.params.pixel_head import ProbabilitiesParams
from wsss.config.stage import STAGES, StageKind
from wsss.stages.kinds.segmentations import trained_scales

if TYPE_CHECKING:
    from wsss.data.view import DataView


@STAGES.register
class Probabilities(StageKind[ProbabilitiesParams]):
    name = "probabilities"
    params = ProbabilitiesParams
    work = "wsss.stages.probabilities:Probabilities"
    rests_on = ()
    needs = ("segmenter",)
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

    @classmethod
    def notes(cls, params: ProbabilitiesParams, sources: Mapping[str, Params]) -> dict[str, Any]:
        """Return the scales at which photos are segmented: its own, or those of the training."""
        return {"scales": list(params.scales or trained_scales(sources))}

    @classmethod
    def passes(cls, params: ProbabilitiesParams, facts: Mapping[str, Any]) -> float:
        scales = facts.get("notes", {}).get("scales") or params.scales or ()
        return sum(scale**2 for scale in scales) * (1 + params.flip)
