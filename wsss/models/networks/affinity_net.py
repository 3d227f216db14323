"""Networks that say which neighbouring cells belong together: AffinityNet and IRNet's boundary branch."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import elu, interpolate

from wsss.errors import ConfigError, Problem
from wsss.models.backbone import Backbone, BackboneNetwork

GAIN = 4.0
WIDTHS = (64, 128, 256)
BRANCH = 32
GROUPS = 4


class PairNetwork(BackboneNetwork):
    """A backbone, one small layer on each of some of its taps, and one that mixes them on a common grid.

    Input: RGB in [0, 1], normalised with `mean` and `std`. Raises `ConfigError` for a backbone without
    such taps.
    """

    stride: ClassVar[int]
    reduce: nn.ModuleList
    mix: nn.Conv2d
    canvas: int = 0
    """Smallest height and width, in pixels, of what it looks at: a smaller photo is padded."""

    def __init__(self, backbone: Backbone, taps: tuple[str, ...]) -> None:
        super().__init__()
        if not taps:
            message = f"{backbone.name} doesn't say at which taps affinities can be read"
            raise ConfigError(Problem("backbone", message, "resnet50, resnet101, resnet38 and others do"))
        self.backbone = backbone
        self.taps = taps
        known = {tap.name: tap for tap in backbone.taps}
        self.channels = [known[tap].channels for tap in taps]
        self.nesting = math.lcm(self.stride, *(known[tap].stride for tap in taps))
        """Images whose sides are multiples of this need no grid stretched to another."""

    @property
    def heads(self) -> list[nn.Module]:
        """The layers that start from nothing."""
        return [*self.reduce, self.mix]

    def grid(self, x: Tensor) -> tuple[int, int]:
        """Return the (height, width) of the output for images float32[B, 3, H, W]."""
        return -(-x.shape[2] // self.stride), -(-x.shape[3] // self.stride)


class AffinityNetwork(PairNetwork):
    """AffinityNet (Ahn and Kwak, CVPR 2018): features in which neighbours of one object are alike.

    Three taps of the backbone go through 1×1 convolutions to 64, 128 and 256 channels, are brought to
    the grid of stride 8 and mixed by one more.
    """

    stride: ClassVar[int] = 8

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone, backbone.affinity_taps)
        self.reduce = nn.ModuleList(
            nn.Conv2d(channels, width, 1, bias=False)
            for channels, width in zip(self.channels, WIDTHS, strict=True)
        )
        for layer in self.reduce:
            assert isinstance(layer, nn.Conv2d)
            nn.init.kaiming_normal_(layer.weight)
        self.mix = nn.Conv2d(sum(WIDTHS), sum(WIDTHS), 1, bias=False)
        nn.init.xavier_uniform_(self.mix.weight, gain=GAIN)

    def forward(self, x: Tensor) -> Tensor:
        """Map float32[B, 3, H, W] to features float32[B, 448, ⌈H/8⌉, ⌈W/8⌉]."""
        features = self.backbone.forward_readings(x, self.taps)
        size = self.grid(x)
        parts = [elu(layer(features[tap])) for tap, layer in zip(self.taps, self.reduce, strict=True)]
        return elu(self.mix(torch.cat([_resized(part, size) for part in parts], dim=1)))


class BoundaryNetwork(PairNetwork):
    """IRNet's boundary branch (Ahn et al., CVPR 2019): where one object ends and another begins.

    Five taps of the backbone, which doesn't learn, go to 32 channels each at the grid of stride 4, and
    all of them to one.

    Group normalisation takes its statistics from the whole input, so that what lies around a photo counts:
    `canvas` is the side of the crops that it learns from, and later the least that it is shown.
    """

    stride: ClassVar[int] = 4

    def __init__(self, backbone: Backbone, canvas: int = 0) -> None:
        super().__init__(backbone, backbone.boundary_taps)
        self.canvas = canvas
        self.reduce = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, BRANCH, 1, bias=False), nn.GroupNorm(GROUPS, BRANCH))
            for channels in self.channels
        )
        self.mix = nn.Conv2d(BRANCH * len(self.taps), 1, 1, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map float32[B, 3, H, W] to the logits of a boundary, float32[B, ⌈H/4⌉, ⌈W/4⌉]."""
        with torch.no_grad():
            features = self.backbone.forward_readings(x, self.taps)
        size = self.grid(x)
        parts = [
            _resized(layer(features[tap]), size).relu()
            for tap, layer in zip(self.taps, self.reduce, strict=True)
        ]
        logits: Tensor = self.mix(torch.cat(parts, dim=1))
        return logits[:, 0]


def _resized(features: Tensor, size: tuple[int, int]) -> Tensor:
    if features.shape[2:] == size:
        return features
    return interpolate(features, size, mode="bilinear", align_corners=False)
