"""A pixel head: a few dilated convolutions on the frozen features of a classifier, and what they say of it.

It learns where classes are, or only where anything is: then the classifier, which knows the labels of all
images, says of each pixel which class it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, log_softmax, softmax

from wsss.models.backbone import Backbone
from wsss.models.computing.precision import Precision
from wsss.models.heads.convolution import Convolution
from wsss.models.kind import Statistics
from wsss.models.networks.cam_net import CamNetwork

DILATIONS = (1, 2, 4)
READ = 2
"""Taps that a pixel head reads: the deepest but for the last layer, which tells classes apart better than
objects from what surrounds them."""
WINDOW = 25
"""Cells on each side of a window in which the classifier's maps decide together over a class."""


class PixelHead(nn.Module):
    """Logits float32[B, outputs, h, w] of features float32[B, inputs, h, w].

    Args:
        inputs: channels of the features.
        outputs: logits of each cell.
        channels: between its convolutions.
        dropout: share of the features' channels that are zeroed while it learns, in [0, 1).
    """

    def __init__(self, inputs: int, outputs: int, channels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout2d(dropout)
        self.reduce = nn.Conv2d(inputs, channels, 1)
        widths = [channels] * len(DILATIONS) + [outputs]
        self.layers = nn.ModuleList(
            nn.Conv2d(widths[n], widths[n + 1], 3, padding=rate, dilation=rate)
            for n, rate in enumerate(DILATIONS)
        )

    def forward(self, features: Tensor) -> Tensor:
        x: Tensor = self.reduce(self.dropout(features))
        for layer in self.layers:
            x = layer(torch.relu(x))
        return x


class PixelHeadNetwork(nn.Module):
    """A segmentation network: a classifier and a pixel head. Input: RGB in [0, 1], normalised with `mean` and
    `std`.

    Args:
        cam: the classifier, which doesn't learn.
        classes: names, in the order of mask ids; its outputs are the background and then these.
        size: the long side, in pixels, at which a photo is shown at scale 1; smaller ones keep their size.
        scales: the shares of that at which it has learnt.
        foreground: whether the head tells object from background, and the classifier the class.
        channels: of the head.
        dropout: of the head, while it learns.

    Examples:
        >>> import torch
        >>> from wsss.models import CamNetwork, create_backbone
        >>> cam = CamNetwork(create_backbone("mobilenet_v2", "none"), classes=2)
        >>> network = PixelHeadNetwork(cam, ["cat", "dog"], size=64, foreground=True, channels=8).eval()
        >>> with torch.inference_mode():
        ...     (logits,) = network.pyramid(torch.zeros(1, 3, 96, 128), [1.0])
        >>> tuple(logits.shape), bool((logits.exp().sum(1) - 1).abs().max() < 1e-5)
        ((1, 3, 3, 4), True)
    """

    precision: Precision = Precision()
    """In which numbers it computes on a GPU."""

    def __init__(
        self,
        cam: CamNetwork,
        classes: Sequence[str],
        *,
        size: int,
        scales: Sequence[float] = (1.0,),
        foreground: bool = False,
        channels: int = 128,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.cam = cam.requires_grad_(False)
        self.classes = tuple(classes)
        self.size = size
        self.scales = tuple(scales)
        self.foreground = foreground
        outputs = 2 if foreground else len(self.classes) + 1
        backbone = cam.backbone
        self.read = backbone.affinity_taps[-READ:] or (backbone.taps[-1].name,)
        """The taps that the head reads."""
        self.inputs = sum(tap.channels for tap in backbone.taps if tap.name in self.read)
        """Channels that the head reads, the first of `features`."""
        self.head = PixelHead(self.inputs, outputs, channels, dropout)

    @property
    def backbone(self) -> Backbone:
        return self.cam.backbone

    @property
    def mean(self) -> Statistics:
        return self.cam.mean

    @property
    def std(self) -> Statistics:
        return self.cam.std

    def train(self, mode: bool = True) -> PixelHeadNetwork:
        """Set the mode of the head; the classifier stays in evaluation mode."""
        super().train(mode)
        self.cam.eval()
        return self

    def features(self, x: Tensor) -> Tensor:
        """Return what the head reads, and what class maps are made of where those have a say, as channels of
        one map; of images float32[B, 3, H, W] at their size."""
        last = self.backbone.taps[-1].name
        taps = self.backbone.forward_readings(x, {*self.read, last})
        size = taps[last].shape[2:]
        found = [_at(taps[name], size) for name in self.read]
        if self.foreground:
            plain = isinstance(self.cam.head, Convolution) and last not in self.backbone.next_norms
            found.append(taps[last] if plain else self.cam.head.features(self.backbone, x))
        return torch.cat(found, 1)

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits float32[B, C + 1, h, w] of images float32[B, 3, H, W] at their size."""
        return self.of_features(self.features(x))

    def of_features(self, features: Tensor) -> Tensor:
        """Return the logits float32[B, C + 1, h, w] of features; log-probabilities where the classifier says
        which class it is."""
        logits: Tensor = self.head(features[:, : self.inputs])
        if not self.foreground:
            return logits
        where = log_softmax(logits, 1)
        which = log_softmax(
            _evidence(self.cam.maps(features[:, self.inputs :]), softmax(logits, 1)[:, 1:]), 1
        )
        return torch.cat([where[:, :1], where[:, 1:] + which], 1)

    def pyramid(self, x: Tensor, scales: Sequence[float]) -> list[Tensor]:
        """Return the logits at every scale, each on a grid of its own."""
        return [self.logits(fitted(x, self.size, scale)) for scale in scales]


def _evidence(maps: Tensor, objects: Tensor) -> Tensor:
    """Return what speaks for each class in every cell, float32[B, C, h, w]: the mean of its map over the
    objects of the photo, and that over the objects around the cell. A single cell says little: a classifier
    knows an animal by its face.

    Args:
        maps: float32[B, C, h, w].
        objects: how far a cell is of any object, float32[B, 1, h, w] in [0, 1].
    """
    seen = maps * objects
    whole = seen.sum((2, 3), keepdim=True) / objects.sum((2, 3), keepdim=True).clamp(min=1e-6)
    around, present = (avg_pool2d(one, WINDOW, 1, WINDOW // 2) for one in (seen, objects))
    return whole + around / present.clamp(min=1e-6)


def _at(features: Tensor, size: torch.Size) -> Tensor:
    if features.shape[2:] == size:
        return features
    return interpolate(features, size, mode="bilinear", align_corners=False)


def fitted(x: Tensor, size: int | None, scale: float) -> Tensor:
    """Return images [B, K, H, W] brought to the long side `size`, unless theirs is shorter, times a scale."""
    height, width = x.shape[2:]
    factor = scale * (1.0 if size is None else min(1.0, size / max(height, width)))
    if factor == 1:
        return x
    shape = [max(1, int(length * factor)) for length in (height, width)]
    return interpolate(x, shape, mode="bilinear", align_corners=False, antialias=factor < 1)
