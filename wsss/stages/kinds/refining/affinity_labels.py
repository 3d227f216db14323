"""The facts of stage `affinity_labels`: which pixels of the training images can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wsss.config.params.stages import AffinityLabelsParams
from wsss.config.stage import STAGES, StageKind

if TYPE_CHECKING:
    from wsss.data.view import DataView


@STAGES.register
class AffinityLabels(StageKind[AffinityLabelsParams]):
    name = "affinity_labels"
    params = AffinityLabelsParams
    work = "wsss.stages.refining.affinity_labels:AffinityLabels"
    rests_on = ()
    version = 2
    needs = ("cams",)
    place = "pool"

    @classmethod
    def consumes(cls, params: AffinityLabelsParams, data: DataView) -> Mapping[str, str]:
        return {"images": data.image_key(data.train)}

    @classmethod
    def small(cls, raw: Mapping[str, Any]) -> dict[str, Any]:
        return {**raw, "crf": {**(raw.get("crf") or {}), "iterations": 2}}

    @classmethod
    def passes(cls, params: AffinityLabelsParams, facts: Mapping[str, Any]) -> float:
        return float(params.crf.iterations)
