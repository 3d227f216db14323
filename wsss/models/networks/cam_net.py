"""The classifier whose weights are a map: global average pooling, then a head, mostly a 1×1 convolution.

Pooling and a linear layer commute, so applying the layer before pooling gives class activation maps
whose mean is the logit (Zhou et al., "Learning Deep Features for Discriminative Localization",
CVPR 2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.functional import dropout

from wsss.errors import ConfigError, Problem
from wsss.models.backbone import Backbone, BackboneNetwork, Change
from wsss.models.head import HEADS
from wsss.models.heads.convolution import Convolution
from wsss.models.kind import Statistics


class CamOutput(NamedTuple):
    """`logits` float32[B, C], the features float32[B, D, h, w] they were pooled from, and the
    sub-categories' logits float32[B, S], None without a head for them."""

    logits: Tensor
    features: Tensor
    sub_logits: Tensor | None = None


class CamNetwork(BackboneNetwork):
    """A backbone with a class head. Input: RGB in [0, 1], normalised with `mean` and `std`.

    Args:
        backbone: gives the features.
        classes: C, the number of maps and logits.
        subcategories: S, the outputs of a second head on the same pooled features, 0 for none. Maps are
            those of the classes.
        dropout: the share of channels that are zeroed, per image, before the head while training, in [0, 1).
            Maps never see it: they are made from all channels.
        head: the name of the class head; empty for the backbone's own.

    Examples:
        The mean of a class's map is its logit:

        >>> import torch
        >>> from wsss.models import CamNetwork, create_backbone
        >>> network = CamNetwork(create_backbone("mobilenet_v2", "none"), classes=2).eval()
        >>> images = torch.rand(1, 3, 64, 64)
        >>> with torch.inference_mode():
        ...     maps, logits = network.cam(images), network(images).logits
        >>> tuple(maps.shape), torch.allclose(maps.mean((2, 3)), logits, atol=1e-5)
        ((1, 2, 4, 4), True)
    """

    def __init__(
        self,
        backbone: Backbone,
        classes: int,
        subcategories: int = 0,
        dropout: float = 0.0,
        head: str = "",
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ConfigError(Problem("dropout", f"is {dropout}, but must be in [0, 1)"))
        self.backbone = backbone
        self.dropout = dropout
        self.head = HEADS[head or backbone.head](backbone, classes)
        # Made last, so that the class head starts as it does without sub-categories.
        self.sub_head = Convolution(backbone, subcategories) if subcategories else None

    @property
    def heads(self) -> list[nn.Module]:
        """The layers that start from nothing."""
        return [self.head] if self.sub_head is None else [self.head, self.sub_head]

    def forward(self, x: Tensor, at: str = "", change: Change | None = None) -> CamOutput:
        """Return logits and features.

        Args:
            x: images, float32[B, 3, H, W].
            at: a tap's name.
            change: maps the features at that tap to others of their shape, which then go on.
        """
        features = self.head.features(self.backbone, x, at, change)
        # Zeroing a channel before or after pooling is the same thing.
        pooled = dropout(features.mean(dim=(2, 3), keepdim=True), self.dropout, self.training)
        sub_logits = None
        if self.sub_head is not None:
            sub_logits = self.sub_head.logits(features, pooled[:, : self.backbone.channels])
        return CamOutput(self.head.logits(features, pooled), features, sub_logits)

    def maps(self, features: Tensor) -> Tensor:
        """Return the maps float32[B, C, h, w] of features, before rectification."""
        return self.head.maps(features)

    def sub_maps(self, features: Tensor) -> Tensor:
        """Return the maps float32[B, S, h, w] of sub-categories, before rectification."""
        assert self.sub_head is not None
        return self.sub_head.maps(features[:, : self.backbone.channels])

    def cam(self, x: Tensor) -> Tensor:
        """Return the maps float32[B, C, h, w] of images, before rectification."""
        return self.maps(self.head.features(self.backbone, x))


class SubcategoryMaps:
    """The maps of a network's sub-categories instead of its classes': a diagnostic, a source of CAMs.

    `parents` has the class of each sub-category.
    """

    def __init__(self, network: CamNetwork, parents: Sequence[int]) -> None:
        self.network = network
        self.precision = network.precision
        self.parents = tuple(parents)

    @property
    def mean(self) -> Statistics:
        return self.network.mean

    @property
    def std(self) -> Statistics:
        return self.network.std

    def cam(self, x: Tensor) -> Tensor:
        """Return the maps float32[B, S, h, w] of images, before rectification."""
        return self.network.sub_maps(self.network.backbone(x))
