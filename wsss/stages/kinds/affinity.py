"""What is known of `affinity`: a network that says which neighbouring cells belong together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wsss.config.params.stages import AffinityParams, Params
from wsss.config.stage import SMALL_NETWORK, STAGES, StageKind

if TYPE_CHECKING:
    from wsss.data.view import DataView


@STAGES.register
class Affinity(StageKind[AffinityParams]):
    name = "affinity"
    params = AffinityParams
    work = "wsss.stages.training.affinity:Affinity"
    needs = ("affinity_labels",)
    seeded = True
    grows = ""

    @classmethod
    def consumes(cls, params: AffinityParams, data: DataView) -> Mapping[str, str]:
        from wsss.models import weights_identity
        from wsss.stages.training.affinity import check_backbone

        check_backbone(params)
        weights = weights_identity(params.backbone, params.weights)
        return {"train": data.image_key(data.train), "weights": weights}

    @classmethod
    def revision(cls, params: AffinityParams, sources: Mapping[str, Params]) -> int:
        """1 where the network reads pre-activated features: it read raw sums before."""
        from wsss.models import backbone_class
        from wsss.stages.training.affinity import head_taps

        return int(any(tap in backbone_class(params.backbone).next_norms for tap in head_taps(params)))

    @classmethod
    def small(cls, raw: Mapping[str, Any]) -> dict[str, Any]:
        return {**raw, **SMALL_NETWORK, "freeze": "default"}

    @classmethod
    def alike(cls, params: AffinityParams) -> tuple[Any, ...]:
        return (params.kind, params.freeze)
