"""The facts of stage `agreement`: how well CAMs agree with pseudo masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wsss.config.params.stages import Params
from wsss.config.stage import STAGES, StageKind

if TYPE_CHECKING:
    from wsss.data.view import DataView


class AgreementParams(Params):
    """How well CAMs agree with pseudo masks: those of the same chain (how much the CRF changes), or, by
    `from`, those of another classifier in it."""


@STAGES.register
class Agreement(StageKind[AgreementParams]):
    name = "agreement"
    params = AgreementParams
    work = "wsss.stages.scoring.agreement:Agreement"
    rests_on = ()
    needs = ("cams", "pseudo_masks")
    place = "serial"
    grows = ""
    ranks = "miou"

    @classmethod
    def consumes(cls, params: AgreementParams, data: DataView) -> Mapping[str, str]:
        return {"images": data.image_key(data.train)}

    @classmethod
    def results(cls, record: Mapping[str, Any]) -> dict[str, float]:
        summary = record["summary"]
        return {name: float(summary[name]) for name in ("miou", "threshold") if name in summary}
