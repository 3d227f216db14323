"""Networks: backbones behind one small interface, and the CAM network."""

from wsss.models.affinity_net import AffinityNetwork, BoundaryNetwork
from wsss.models.backbone import (
    Backbone,
    Tap,
    backbone_class,
    backbone_names,
    create_backbone,
    dense_class,
    register,
)
from wsss.models.cam_net import CamNetwork, CamOutput
from wsss.models.deeplab import DeepLab, load_deeplab_pytorch
from wsss.models.weights import weights_identity

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
