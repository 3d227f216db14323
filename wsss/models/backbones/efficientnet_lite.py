"""EfficientNet-Lite0 (Tan and Le, ICML 2019; Lite variant of 2020) at output stride 16 or, dense, 8
by dilation.

Its ImageNet weights come with an installed package, which makes it the backbone that runs anywhere.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from wsss.errors import ConfigError, Problem
from wsss.models.backbone import Backbone
from wsss.models.backbones.torchvision_cpu import timm
from wsss.models.kinds import efficientnet_lite as kinds
from wsss.models.weights import fetch, load_tensors, stored_tensors


class EfficientNetLite0(kinds.EfficientNetLite0, Backbone):
    def __init__(self) -> None:
        super().__init__()
        full: Any = timm.create_model(
            "tf_efficientnet_lite0", output_stride=self.stride, num_classes=0, global_pool=""
        )
        self.conv_stem, self.bn1, self.blocks = full.conv_stem, full.bn1, full.blocks
        self.conv_head, self.bn2 = full.conv_head, full.bn2

    def segments(self) -> list[nn.Module]:
        stem = nn.Sequential(self.conv_stem, self.bn1)
        return [stem, *self.blocks, nn.Sequential(self.conv_head, self.bn2)]

    def load_weights(self, weights: str) -> None:
        if weights == "download":
            build: Any = timm.create_model
            tensors, source = fetch(self.name, lambda release: build(release, pretrained=True))
        else:
            tensors, source = stored_tensors(self.name, weights)
            if weights == "package":
                tensors = self._renamed(tensors, source)
        load_tensors(self, tensors, source, ignore=("classifier.",))

    @staticmethod
    def _renamed(tensors: dict[str, Tensor], source: str) -> dict[str, Tensor]:
        """Return the package's tensors under timm's names: both list them in the same order."""
        names = list(timm.create_model("tf_efficientnet_lite0").state_dict())
        if len(names) != len(tensors):
            message = f"has {len(tensors)} tensors, but tf_efficientnet_lite0 has {len(names)}"
            raise ConfigError(Problem(source, message))
        return dict(zip(names, tensors.values(), strict=True))
