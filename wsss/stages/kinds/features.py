"""The facts of stage `features`: a classifier's pooled features of every training image, for clustering."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wsss.config.params.stages import ClassifierParams, FeaturesParams, Params
from wsss.config.stage import STAGES, StageKind
from wsss.errors import ConfigError, Problem
from wsss.models.kind import backbone_class

if TYPE_CHECKING:
    from wsss.data.view import DataView

FEATURES_FILE = "features.npz"
"""The file of the artefact: ids str[N], features float32[N, D]."""


@STAGES.register
class Features(StageKind[FeaturesParams]):
    name = "features"
    params = FeaturesParams
    work = "wsss.stages.features:Features"
    rests_on = ()
    version = 2
    needs = ("classifier",)
    grows = "images"

    @classmethod
    def check_sources(cls, params: FeaturesParams, sources: Mapping[str, Params]) -> None:
        teacher = sources["classifier"]
        if params.embedding != "class_token" or not isinstance(teacher, ClassifierParams):
            return
        if not backbone_class(teacher.backbone).has_class_token:
            message = f"`class_token` needs a vision transformer, but {teacher.backbone} has no class token"
            raise ConfigError(Problem("embedding", message, "`pooled` fits every backbone"))

    @classmethod
    def consumes(cls, params: FeaturesParams, data: DataView) -> Mapping[str, str]:
        return {"images": data.image_key(data.train)}

    @classmethod
    def small(cls, raw: Mapping[str, Any]) -> dict[str, Any]:
        # The smallest backbone isn't a transformer.
        return {key: value for key, value in raw.items() if key != "embedding"}
