"""MobileNetV2 (Sandler et al., CVPR 2018) at output stride 16 or, dense, 8 by dilation."""

from __future__ import annotations

from typing import Any

from torch import nn

from wsss.models.backbone import Backbone
from wsss.models.backbones.torchvision_cpu import torchvision
from wsss.models.kinds import mobilenet as kinds
from wsss.models.pretrained.tensor_files import load_tensors
from wsss.models.pretrained.weights import fetch, stored_tensors

_ENDS = (2, 4, 7, 14, 18, 19)
"""Exclusive ends of the segments in torchvision's list of 19 feature blocks."""


class MobileNetV2(kinds.MobileNetV2, Backbone):
    """The trunk `features` of torchvision's model; blocks 14 to 17 (dense: 7 to 17) are dilated instead of
    strided."""

    def __init__(self) -> None:
        super().__init__()
        full: Any = torchvision.models.mobilenet_v2(weights=None)
        self.features = full.features
        dilation = 1
        for number in range(7 if self.stride == 8 else 14, 18):
            for module in self.features[number].modules():
                if isinstance(module, nn.Conv2d) and module.groups > 1:  # the depthwise convolution
                    strided = module.stride == (2, 2)
                    module.stride = (1, 1)
                    module.dilation = module.padding = (dilation, dilation)
                    dilation *= 2 if strided else 1

    def segments(self) -> list[nn.Module]:
        starts = (0, *_ENDS[:-1])
        return [self.features[start:end] for start, end in zip(starts, _ENDS, strict=True)]

    def load_weights(self, weights: str) -> None:
        if weights == "download":
            build: Any = torchvision.models.mobilenet_v2
            tensors, source = fetch(self.name, lambda release: build(weights=release))
        else:
            tensors, source = stored_tensors(self.name, weights)
        tensors = {name.removeprefix("features."): value for name, value in tensors.items()}
        load_tensors(self.features, tensors, source, ignore=("classifier.",))
