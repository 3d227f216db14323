"""ResNet-50 and -101 (He et al., CVPR 2016) at output stride 16: the last stage keeps its grid.

Dense, at output stride 8, the last two keep it, and look 2 and 4 times as far apart. Their first blocks
look only as far as the stage before: in these networks, whose 3×3 convolutions have the strides, that is
what leaves every weight at the distance it was trained for. The pooling then covers odd edges too
(`ceil_mode`), so that 321 pixels give 41 cells and 240 give 31, as DeepLab's own do.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from wsss.models.backbone import Backbone
from wsss.models.backbones.torchvision_cpu import torchvision
from wsss.models.kinds import resnet as kinds
from wsss.models.pretrained.tensor_files import load_tensors
from wsss.models.pretrained.weights import fetch, stored_tensors


class _ResNet(kinds.ResNetKind, Backbone):
    model: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        dilated = {"replace_stride_with_dilation": [False, True, True]} if self.stride == 8 else {}
        full: Any = getattr(torchvision.models, self.model)(weights=None, **dilated)
        self.conv1, self.bn1, self.relu, self.maxpool = full.conv1, full.bn1, full.relu, full.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            full.layer1,
            full.layer2,
            full.layer3,
            full.layer4,
        )
        if self.stride == 8:
            self.maxpool.ceil_mode = True
            return
        first = self.layer4[0]
        first.conv2.stride = (1, 1)
        first.downsample[0].stride = (1, 1)

    def segments(self) -> list[nn.Module]:
        stem = nn.Sequential(self.conv1, self.bn1, self.relu, self.maxpool)
        return [stem, self.layer1, self.layer2, self.layer3, self.layer4]

    def load_weights(self, weights: str) -> None:
        if weights == "download":
            build: Any = getattr(torchvision.models, self.model)
            tensors, source = fetch(self.name, lambda release: build(weights=release))
        else:
            tensors, source = stored_tensors(self.name, weights)
        load_tensors(self, tensors, source, ignore=("fc.",))


class ResNet50(kinds.ResNet50, _ResNet):
    model: ClassVar[str] = "resnet50"


class ResNet101(kinds.ResNet101, _ResNet):
    model: ClassVar[str] = "resnet101"
