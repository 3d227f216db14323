"""The facts of stage `walk`: the scores of a random walk, kept for many settings of the background."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wsss.config.params.stages import AffinityParams, Params, RandomWalkParams, WalkStageParams
from wsss.config.stage import STAGES, StageKind
from wsss.errors import ConfigError, Problem

if TYPE_CHECKING:
    from wsss.data.view import DataView


@STAGES.register
class Walk(StageKind[WalkStageParams]):
    name = "walk"
    params = WalkStageParams
    work = "wsss.stages.refining.walk:Walk"
    rests_on = ()
    version = 2
    needs = ("cams", "affinity")
    lists = ("labelled_ids",)

    @classmethod
    def check_sources(cls, params: WalkStageParams, sources: Mapping[str, Params]) -> None:
        check_pairs(params, sources, "pairs")

    @classmethod
    def consumes(cls, params: WalkStageParams, data: DataView) -> Mapping[str, str]:
        return {"images": data.image_key(data.labelled_ids)}

    @classmethod
    def alike(cls, params: WalkStageParams) -> tuple[Any, ...]:
        return (params.log_steps, params.radius)


def check_pairs(params: RandomWalkParams, sources: Mapping[str, Params], key: str) -> None:
    """Raise `ConfigError` for pairs that an affinity network of this kind doesn't have."""
    if params.pairs == "cropped" and is_boundary(sources.get("affinity")):
        message = "`cropped` belongs to `affinity: {kind: affinity}`, but this one is of kind boundary"
        raise ConfigError(Problem(key, message, "leave it out"))


def is_boundary(source: Params | None) -> bool:
    """Whether an affinity network, by its parameters, learns where objects end."""
    return isinstance(source, AffinityParams) and source.kind == "boundary"
