"""The backbone `toy_attention`, whose head makes class maps from the attention of class tokens (Xu et al.,
"Multi-class Token Transformer", CVPR 2022), in miniature."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from wsss.models import Backbone, Tap, register
from wsss.models.backbone import Change
from wsss.models.head import HEADS, Head


@register
class ToyAttention(Backbone):
    name: ClassVar[str] = "toy_attention"
    channels: ClassVar[int] = 16
    stride: ClassVar[int] = 8
    taps: ClassVar[tuple[Tap, ...]] = (Tap("first", 8, 4), Tap("last", 16, 8))
    default_freeze: ClassVar[str] = "none"
    head: ClassVar[str] = "class_tokens"

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 5, stride=4, padding=2), nn.ReLU())
        self.last = nn.Sequential(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU())

    def segments(self) -> list[nn.Module]:
        return [self.first, self.last]

    def load_weights(self, weights: str) -> None:
        raise AssertionError("it is not pretrained")


@HEADS.register
class ClassTokens(Head):
    """A token a class attends to the cells: logits are read from what it gathers, maps from where it looks."""

    name: ClassVar[str] = "class_tokens"

    def __init__(self, backbone: Backbone, classes: int) -> None:
        super().__init__()
        self.channels = backbone.channels
        self.tokens = nn.Parameter(torch.randn(classes, backbone.channels) / backbone.channels**0.5)
        self.weight = nn.Parameter(torch.randn(classes, backbone.channels) / backbone.channels**0.5)

    def features(self, backbone: Backbone, x: Tensor, at: str = "", change: Change | None = None) -> Tensor:
        patches = backbone(x, at, change)
        scores = torch.einsum("cd,bdhw->bchw", self.tokens, patches)
        attention = scores.flatten(2).softmax(2).view_as(scores)
        return torch.cat([patches, attention], 1)

    def logits(self, features: Tensor, pooled: Tensor) -> Tensor:
        return self.maps(features).mean((2, 3))

    def maps(self, features: Tensor) -> Tensor:
        patches, attention = features[:, : self.channels], features[:, self.channels :]
        cells = attention.shape[2] * attention.shape[3]
        return cells * attention * torch.einsum("cd,bdhw->bchw", self.weight, patches)
