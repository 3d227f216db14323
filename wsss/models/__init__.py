"""Networks: backbones behind one small interface, and the CAM network.

What is known of backbones and weights is imported at once; networks, which need torch, when they are
asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from wsss.models.kind import Tap, backbone_class, backbone_names, dense_class, register
from wsss.models.pretrained.weights import weights_identity

if TYPE_CHECKING:
    from wsss.models.backbone import Backbone, create_backbone
    from wsss.models.networks.affinity_net import AffinityNetwork, BoundaryNetwork
    from wsss.models.networks.cam_net import CamNetwork, CamOutput
    from wsss.models.networks.deeplab import DeepLab, load_deeplab_pytorch

_NETWORKS = {
    "AffinityNetwork": "networks.affinity_net",
    "BoundaryNetwork": "networks.affinity_net",
    "Backbone": "backbone",
    "create_backbone": "backbone",
    "CamNetwork": "networks.cam_net",
    "CamOutput": "networks.cam_net",
    "DeepLab": "networks.deeplab",
    "load_deeplab_pytorch": "networks.deeplab",
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
