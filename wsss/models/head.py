"""What a head is: it makes class maps and logits of a backbone's features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from wsss.models.backbone import Backbone, Change
from wsss.plugins import Registry


class Head(nn.Module, ABC):
    """Made with a backbone and the number of classes: `Head(backbone, classes)`.

    A head that needs more than the last features (class tokens, attention of earlier layers) overrides
    `features` and lays it beside them as further channels.
    """

    name: ClassVar[str]

    def features(self, backbone: Backbone, x: Tensor, at: str = "", change: Change | None = None) -> Tensor:
        """Return features float32[B, D, h, w], of which the first `channels` are the backbone's.

        Args:
            backbone: what the head stands on.
            x: images, float32[B, 3, H, W].
            at: a tap; empty for none.
            change: what the features at that tap go through before the backbone goes on.
        """
        features: Tensor = backbone(x, at, change)
        return features

    @abstractmethod
    def logits(self, features: Tensor, pooled: Tensor) -> Tensor:
        """Return the logits float32[B, C] of features, and of their mean `pooled` float32[B, D, 1, 1], of
        which some channels are dropped while training."""

    @abstractmethod
    def maps(self, features: Tensor) -> Tensor:
        """Return the maps float32[B, C, h, w] of features, before rectification."""


HEADS: Registry[type[Head]] = Registry("head", "wsss.models.heads")
