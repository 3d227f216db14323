"""Networks: backbones behind one small interface, and the CAM network.

What is known of backbones and weights is imported at once; networks, which need torch, when they are
asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from wsss.models.kind import Tap, backbone_class, backbone_names, dense_class, register
from wsss.models.weights import weights_identity

if TYPE_CHECKING:
    from wsss.models.affinity_net import AffinityNetwork, BoundaryNetwork
    from wsss.models.backbone import Backbone, create_backbone
    from wsss.models.cam_net import CamNetwork, CamOutput
    from wsss.models.deeplab import DeepLab, load_deeplab_pytorch

_NETWORKS = {
    "AffinityNetwork": "affinity_net",
    "BoundaryNetwork": "affinity_net",
    "Backbone": "backbone",
    "create_backbone": "backbone",
    "CamNetwork": "cam_net",
    "CamOutput": "cam_net",
    "DeepLab": "deeplab",
    "load_deeplab_pytorch": "deeplab",
}
"""Where each name that needs torch is."""

__all__ = [
    "AffinityNetwork",
    "Backbone",
    "BoundaryNetwork",
    "CamNetwork",
    "CamOutput",
    "DeepLab",
    "Tap",
    "backbone_class",
    "backbone_names",
    "create_backbone",
    "dense_class",
    "load_deeplab_pytorch",
    "register",
    "weights_identity",
]


def __getattr__(name: str) -> Any:
    if name not in _NETWORKS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_NETWORKS[name]}"), name)
