"""EfficientNet-Lite0, -Lite1 and -Lite2 (Tan and Le, ICML 2019; Lite variants of 2020) at output stride 16
or, dense, 8 by dilation.

Their ImageNet weights come with installed packages, Lite0's always, which makes it the backbone that runs
anywhere.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from wsss.errors import ConfigError, Problem
from wsss.models.backbone import Backbone
from wsss.models.backbones.torchvision_cpu import timm
from wsss.models.kinds import efficientnet_lite as kinds
from wsss.models.pretrained.tensor_files import load_tensors
from wsss.models.pretrained.weights import fetch, stored_tensors


class _EfficientNetLite(kinds.EfficientNetLiteKind, Backbone):
    def __init__(self) -> None:
        super().__init__()
        full: Any = timm.create_model(
            f"tf_{self.name}", output_stride=self.stride, num_classes=0, global_pool=""
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

    def _renamed(self, tensors: dict[str, Tensor], source: str) -> dict[str, Tensor]:
        """Return the package's tensors under timm's names: both list them in the same order."""
        names = list(timm.create_model(f"tf_{self.name}").state_dict())
        if len(names) != len(tensors):
            message = f"has {len(tensors)} tensors, but tf_{self.name} has {len(names)}"
            raise ConfigError(Problem(source, message))
        return dict(zip(names, tensors.values(), strict=True))


class EfficientNetLite0(kinds.EfficientNetLite0, _EfficientNetLite):
    pass


class EfficientNetLite1(kinds.EfficientNetLite1, _EfficientNetLite):
    pass


class EfficientNetLite2(kinds.EfficientNetLite2, _EfficientNetLite):
    pass
