"""What is known of the stage `toy_masks`: CAMs cut at a threshold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsss.config.params.base import Params, PositiveInt, Probability
from wsss.config.stage import STAGES, Scored, StageKind


class ToyMasksParams(Params):
    threshold: Probability = 0.3
    rounds: PositiveInt = 4


@STAGES.register
class ToyMasks(StageKind[ToyMasksParams]):
    name = "toy_masks"
    params = ToyMasksParams
    work = "toy_wsss.work:ToyMasksWork"
    rests_on = ()
    needs = ("cams",)
    scored = Scored("masks", "toy mask", 1.5, "toy")
    lists = ("labelled_ids",)
    place = "serial"

    @classmethod
    def consumes(cls, params: ToyMasksParams, data: Any) -> Mapping[str, str]:
        return {"images": data.image_key(data.labelled_ids)}

    @classmethod
    def small(cls, raw: Mapping[str, Any]) -> dict[str, Any]:
        return {**raw, "rounds": 1}

    @classmethod
    def passes(cls, params: ToyMasksParams, facts: Mapping[str, Any]) -> float:
        return float(params.rounds)
