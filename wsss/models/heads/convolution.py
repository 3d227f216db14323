"""The head `convolution`: one bias-free 1×1 convolution, of the mean or of every cell."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import conv2d

from wsss.models.backbone import Backbone
from wsss.models.head import HEADS, Head


@HEADS.register
class Convolution(Head, nn.Conv2d):
    """Pooling and a linear layer commute, so that the mean of a map is the logit (Zhou et al., CVPR 2016)."""

    name = "convolution"

    def __init__(self, backbone: Backbone, classes: int) -> None:
        nn.Conv2d.__init__(self, backbone.channels, classes, kernel_size=1, bias=False)
        nn.init.xavier_uniform_(self.weight)

    def logits(self, features: Tensor, pooled: Tensor) -> Tensor:
        logits: Tensor = self(pooled)
        return logits.flatten(1)

    def maps(self, features: Tensor) -> Tensor:
        return conv2d(features, self.weight)
