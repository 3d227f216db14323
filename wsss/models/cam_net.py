"""The classifier whose weights are a map: global average pooling, then one bias-free 1×1 convolution.

Pooling and a linear layer commute, so applying the layer before pooling gives class activation maps
whose mean is the logit (Zhou et al., CVPR 2016).
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.functional import conv2d

from wsss.models.backbone import Backbone, Statistics


class CamOutput(NamedTuple):
    """`logits` float32[B, C] and the features float32[B, D, h, w] they were pooled from."""

    logits: Tensor
    features: Tensor


class CamNetwork(nn.Module):
    """A backbone with a class head. Input: RGB in [0, 1], normalised with `mean` and `std`."""

    def __init__(self, backbone: Backbone, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Conv2d(backbone.channels, classes, kernel_size=1, bias=False)
        nn.init.xavier_uniform_(self.head.weight)

    @property
    def mean(self) -> Statistics:
        return self.backbone.mean

    @property
    def std(self) -> Statistics:
        return self.backbone.std

    def forward(self, x: Tensor) -> CamOutput:
        """Map float32[B, 3, H, W] to logits and features."""
        features = self.backbone(x)
        pooled = features.mean(dim=(2, 3), keepdim=True)
        return CamOutput(self.head(pooled).flatten(1), features)

    def maps(self, features: Tensor) -> Tensor:
        """Return the maps float32[B, C, h, w] of features, before rectification."""
        return conv2d(features, self.head.weight)

    def cam(self, x: Tensor) -> Tensor:
        """Return the maps float32[B, C, h, w] of images, before rectification."""
        return self.maps(self.backbone(x))
