"""What is known of `pseudo_masks`: one label per pixel, from CAMs by a dense CRF or a random walk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wsss.config.params.stages import AffinityParams, Params, PseudoMasksParams
from wsss.config.stage import STAGES, Place, Scored, StageKind
from wsss.errors import ConfigError, Problem

if TYPE_CHECKING:
    from wsss.data.view import DataView


@STAGES.register
class PseudoMasks(StageKind[PseudoMasksParams]):
    name = "pseudo_masks"
    params = PseudoMasksParams
    work = "wsss.stages.pseudo_masks:PseudoMasks"
    version = 2
    needs = ("cams",)
    scored = Scored("masks", "mask", 1, "refined")
    lists = ("labelled_ids",)

    @classmethod
    def reads(cls, params: PseudoMasksParams) -> tuple[str, ...]:
        return cls.needs if params.walk is None else (*cls.needs, "affinity")

    @classmethod
    def check_sources(cls, params: PseudoMasksParams, sources: Mapping[str, Params]) -> None:
        boundary = _is_boundary(sources.get("affinity"))
        if params.walk is not None and params.walk.pairs == "cropped" and boundary:
            message = "`cropped` belongs to `affinity: {kind: affinity}`, but this one is of kind boundary"
            raise ConfigError(Problem("walk.pairs", message, "leave it out"))

    @classmethod
    def revision(cls, params: PseudoMasksParams, sources: Mapping[str, Params]) -> int:
        """Where there is a walk: since its network's normalisation is folded. Once more where boundaries are
        walked: their network saw photos without the canvas that it learnt on."""
        return int(params.walk is not None) + int(_is_boundary(sources.get("affinity")))

    @classmethod
    def consumes(cls, params: PseudoMasksParams, data: DataView) -> Mapping[str, str]:
        return {"images": data.image_key(data.labelled_ids)}

    @classmethod
    def small(cls, raw: Mapping[str, Any]) -> dict[str, Any]:
        return {**raw, "crf": {**(raw.get("crf") or {}), "iterations": 2}}

    @classmethod
    def passes(cls, params: PseudoMasksParams, facts: Mapping[str, Any]) -> float:
        return float(params.crf.iterations) if params.walk is None else 1.0

    @classmethod
    def alike(cls, params: PseudoMasksParams) -> tuple[Any, ...]:
        walk = params.walk
        if walk is None:
            return ()
        return (walk.log_steps, walk.radius, params.crf.iterations if walk.crf else 0)

    @classmethod
    def placed(cls, params: PseudoMasksParams) -> Place:
        if params.walk is None:
            return "pool"
        return "device and pool" if params.walk.crf else "device"


def _is_boundary(source: Params | None) -> bool:
    return isinstance(source, AffinityParams) and source.kind == "boundary"
