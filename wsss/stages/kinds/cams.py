"""The facts of stage `cams`: multi-scale class activation maps of every image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wsss.config.params.stages import CamsParams, ClassifierParams, Params
from wsss.config.stage import CROP, STAGES, Scored, StageKind
from wsss.errors import ConfigError, Problem

if TYPE_CHECKING:
    from wsss.data.view import DataView


@STAGES.register
class Cams(StageKind[CamsParams]):
    name = "cams"
    params = CamsParams
    work = "wsss.stages.cams:Cams"
    rests_on = ()
    version = 2
    needs = ("classifier",)
    scored = Scored("maps", "CAM", 0, "cam")
    lists = ("labelled_ids",)

    @classmethod
    def follows(cls, params: CamsParams) -> tuple[str, ...]:
        # The classifier holds what is read of the sub-categories.
        return (*cls.needs, "subcategories") if params.head == "subcategories" else cls.needs

    @classmethod
    def check_sources(cls, params: CamsParams, sources: Mapping[str, Params]) -> None:
        source = sources["classifier"]
        plain = isinstance(source, ClassifierParams) and not source.subcategory_weight
        if params.head == "subcategories" and plain:
            message = "`subcategories` needs a classifier with sub-categories, but this one has none"
            raise ConfigError(Problem("head", message, "set its `subcategory_weight`"))

    @classmethod
    def revision(cls, params: CamsParams, sources: Mapping[str, Params]) -> int:
        """1 for sub-categories: their maximum was taken inside every scale and mirrored copy."""
        return int(params.head == "subcategories")

    @classmethod
    def consumes(cls, params: CamsParams, data: DataView) -> Mapping[str, str]:
        return {"images": data.image_key(data.labelled_ids)}

    @classmethod
    def small(cls, raw: Mapping[str, Any]) -> dict[str, Any]:
        return {**raw, "scales": [1.0], "size": 2 * CROP}

    @classmethod
    def passes(cls, params: CamsParams, facts: Mapping[str, Any]) -> float:
        return sum(scale**2 for scale in params.scales) * (1 + params.flip)

    @classmethod
    def alike(cls, params: CamsParams) -> tuple[Any, ...]:
        return (params.head,)
