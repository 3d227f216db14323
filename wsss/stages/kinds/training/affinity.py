"""The facts of stage `affinity`: a network that learns which neighbouring cells belong together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wsss.config.params.stages import AffinityParams, Params
from wsss.config.stage import SMALL_NETWORK, STAGES, StageKind
from wsss.errors import ConfigError, Problem
from wsss.models.kind import backbone_class, backbone_names, freeze_problem, weights_rest_on
from wsss.models.pretrained.weights import weights_identity

if TYPE_CHECKING:
    from wsss.data.view import DataView


@STAGES.register
class Affinity(StageKind[AffinityParams]):
    name = "affinity"
    params = AffinityParams
    work = "wsss.stages.training.affinity:Affinity"
    rests_on = ()
    needs = ("affinity_labels",)
    paths = ("weights",)
    seeded = True
    grows = ""

    @classmethod
    def consumes(cls, params: AffinityParams, data: DataView) -> Mapping[str, str]:
        check_backbone(params)
        weights = weights_identity(params.backbone, params.weights)
        return {"train": data.image_key(data.train), "weights": weights}

    @classmethod
    def weights_rest_on(cls, backbone: str) -> tuple[str, ...] | None:
        return weights_rest_on(backbone)

    @classmethod
    def revision(cls, params: AffinityParams, sources: Mapping[str, Params]) -> int:
        """1 where the network reads pre-activated features, of which it once read the raw sums, and where
        depthwise convolutions learn, whose gradients are now summed in another order."""
        kind = backbone_class(params.backbone)
        learns = params.kind == "affinity" and params.freeze != "all"
        return int((learns and kind.depthwise) or any(tap in kind.next_norms for tap in head_taps(params)))

    @classmethod
    def small(cls, raw: Mapping[str, Any]) -> dict[str, Any]:
        return {**raw, **SMALL_NETWORK, "freeze": "default"}

    @classmethod
    def alike(cls, params: AffinityParams) -> tuple[Any, ...]:
        return (params.kind, params.freeze)


def check_backbone(params: AffinityParams) -> None:
    """Raise `ConfigError` for a backbone whose taps can't be read, or without the tap that `freeze` names."""
    kind = backbone_class(params.backbone)
    if not head_taps(params):
        able = [name for name in backbone_names() if backbone_class(name).affinity_taps]
        raise ConfigError(
            Problem("backbone", f"{params.backbone} has no taps for affinities", f"one of {', '.join(able)}")
        )
    problem = freeze_problem(kind, params.freeze)
    if problem is not None:
        raise ConfigError(problem)


def head_taps(params: AffinityParams) -> tuple[str, ...]:
    """Return the taps of the backbone that the network reads; none for a backbone that it can't read."""
    kind = backbone_class(params.backbone)
    return kind.affinity_taps if params.kind == "affinity" else kind.boundary_taps
