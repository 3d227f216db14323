"""The facts of stage `pseudo_masks`: one label per pixel, from CAMs by a dense CRF or a random walk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wsss.config.params.stages import Params, PseudoMasksParams, WalkStageParams
from wsss.config.stage import STAGES, Place, Scored, StageKind
from wsss.errors import ConfigError, Problem
from wsss.stages.kinds.refining.walk import check_pairs, is_boundary

if TYPE_CHECKING:
    from wsss.data.view import DataView

CONFIDENCE = "confidence"
"""Folder of uint8 PNGs, one an image: 255 times the winner's share of all scores."""


@STAGES.register
class PseudoMasks(StageKind[PseudoMasksParams]):
    name = "pseudo_masks"
    params = PseudoMasksParams
    work = "wsss.stages.refining.pseudo_masks:PseudoMasks"
    rests_on = ()
    version = 2
    needs = ("cams",)
    scored = Scored("masks", "mask", 1, "refined")
    lists = ("labelled_ids",)

    @classmethod
    def reads(cls, params: PseudoMasksParams) -> tuple[str, ...]:
        if params.walked is not None:
            return ("walk",)
        return cls.needs if params.walk is None else (*cls.needs, "affinity")

    @classmethod
    def check_sources(cls, params: PseudoMasksParams, sources: Mapping[str, Params]) -> None:
        if params.walk is not None:
            check_pairs(params.walk, sources, "walk.pairs")
        source, walked = sources.get("walk"), params.walked
        if walked is None or not isinstance(source, WalkStageParams):
            return
        exponents = [f"{one:g}" for one in source.background_exponents]
        if walked.background_exponent is None and exponents:
            message = "needs a `walk` without `background_exponents`, in which only classes walk"
            raise ConfigError(Problem("walked.background_threshold", message))
        if walked.background_exponent not in (None, *source.background_exponents):
            message = f"is {walked.background_exponent:g}, but no background with that exponent has walked"
            hint = (
                f"those of `walk` are {', '.join(exponents)}"
                if exponents
                else "`walk: {background_exponents: […]}`"
            )
            raise ConfigError(Problem("walked.background_exponent", message, hint))

    @classmethod
    def revision(cls, params: PseudoMasksParams, sources: Mapping[str, Params]) -> int:
        """1 with a walk, since the normalisation of its network is folded; 1 more for a walk along
        boundaries, whose network saw photos without the canvas that it learnt on."""
        return int(params.walk is not None) + int(is_boundary(sources.get("affinity")))

    @classmethod
    def consumes(cls, params: PseudoMasksParams, data: DataView) -> Mapping[str, str]:
        return {"images": data.image_key(data.labelled_ids)}

    @classmethod
    def small(cls, raw: Mapping[str, Any]) -> dict[str, Any]:
        return {**raw, "crf": {**(raw.get("crf") or {}), "iterations": 2}}

    @classmethod
    def passes(cls, params: PseudoMasksParams, facts: Mapping[str, Any]) -> float:
        return float(params.crf.iterations) if _by_crf(params) else 1.0

    @classmethod
    def alike(cls, params: PseudoMasksParams) -> tuple[Any, ...]:
        walk = params.walk
        if walk is None:
            return () if params.walked is None else ("walked", params.walked.crf)
        return (walk.log_steps, walk.radius, params.crf.iterations if walk.crf else 0)

    @classmethod
    def placed(cls, params: PseudoMasksParams) -> Place:
        if params.walk is None:
            return "pool" if _by_crf(params) else "serial"
        return "device and pool" if params.walk.crf else "device"


def _by_crf(params: PseudoMasksParams) -> bool:
    """Whether a CRF makes the masks, without a walk of its own."""
    return params.walk is None and (params.walked is None or params.walked.crf)
