"""The facts of stage `predicted_masks`: masks of photos without labels, by a classifier alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wsss.config.params.predicted_masks import PredictedMasksParams
from wsss.config.stage import CROP, MEANS, STAGES, StageKind
from wsss.stages.kinds.segmentations import segmented_ids

if TYPE_CHECKING:
    from wsss.data.view import DataView


@STAGES.register
class PredictedMasks(StageKind[PredictedMasksParams]):
    name = "predicted_masks"
    params = PredictedMasksParams
    work = "wsss.stages.predicted_masks:PredictedMasks"
    rests_on = ()
    needs = ("classifier",)
    may_make = ("segmentations",)
    lists = ("select", "test")
    means = (*MEANS, "crf")
    place = "device and pool"

    @classmethod
    def makes(cls, params: PredictedMasksParams) -> str:
        return "segmentations"

    @classmethod
    def consumes(cls, params: PredictedMasksParams, data: DataView) -> Mapping[str, str]:
        return {"images": data.photo_key(segmented_ids(data))}

    @classmethod
    def small(cls, raw: Mapping[str, Any]) -> dict[str, Any]:
        crf = {**(raw.get("crf") or {}), "iterations": 2}
        return {**raw, "scales": [1.0], "size": 2 * CROP, "crf": crf}

    @classmethod
    def passes(cls, params: PredictedMasksParams, facts: Mapping[str, Any]) -> float:
        return sum(scale**2 for scale in params.scales) * (1 + params.flip)

    @classmethod
    def alike(cls, params: PredictedMasksParams) -> tuple[Any, ...]:
        # A CRF's time does not depend on scales: times at other scales can't be compared.
        return (params.crf.iterations, params.scales, params.flip)
