"""The facts of stage `subcategories`: clusters of each class's training images, labels for a classifier."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from wsss.config.params.stages import SubcategoriesParams
from wsss.config.stage import STAGES, StageKind

if TYPE_CHECKING:
    from wsss.data.view import DataView


@STAGES.register
class Subcategories(StageKind[SubcategoriesParams]):
    name = "subcategories"
    params = SubcategoriesParams
    work = "wsss.stages.subcategories:SubcategoriesStage"
    rests_on = ()
    needs = ("features",)
    seeded = True
    control = MappingProxyType({"control": "random"})
    place = "serial"
    grows = "images"

    @classmethod
    def consumes(cls, params: SubcategoriesParams, data: DataView) -> Mapping[str, str]:
        return {"images": data.image_key(data.train)}

    @classmethod
    def alike(cls, params: SubcategoriesParams) -> tuple[Any, ...]:
        return (params.algorithm,)
