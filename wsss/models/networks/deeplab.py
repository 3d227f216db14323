"""DeepLabv2 (Chen et al., PAMI 2018): a dense backbone, and a head that looks around at four distances.

Pictures of several sizes go through the same network, and of their answers the largest counts (max
fusion), in training as in use.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from wsss.errors import ConfigError, Problem
from wsss.models.backbone import Backbone, BackboneNetwork, create_backbone
from wsss.models.backbones.resnet_caffe import HEAD, deeplab_tensors
from wsss.models.pretrained.tensor_files import load_tensors, read_tensors

RATES = (6, 12, 18, 24)
SCALES = (1.0, 0.75, 0.5)


class Aspp(nn.Module):
    """Atrous spatial pyramid pooling: the sum of four 3×3 convolutions with different dilations."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        for number, rate in enumerate(RATES):
            conv = nn.Conv2d(channels, outputs, 3, padding=rate, dilation=rate)
            nn.init.normal_(conv.weight, std=0.01)
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)
            self.add_module(f"c{number}", conv)

    def forward(self, x: Tensor) -> Tensor:
        """Map float32[B, D, h, w] to float32[B, outputs, h, w]."""
        return torch.stack([branch(x) for branch in self.children()]).sum(0)


class DeepLab(BackboneNetwork):
    """A segmentation network. Input: RGB in [0, 1], normalised with `mean` and `std`.

    Batch normalisation is frozen, scale and shift included.

    Args:
        backbone: gives the features, as a rule at output stride 8.
        classes: names, in the order of mask ids; its outputs are the background and then these.
        scales: the sizes of the picture at which it learns, as shares of the whole.

    Examples:
        >>> import torch
        >>> from wsss.models import DeepLab, create_backbone
        >>> network = DeepLab(create_backbone("mobilenet_v2", "none", dense=True), ["cat", "dog"]).eval()
        >>> with torch.inference_mode():
        ...     tuple(network.logits(torch.zeros(1, 3, 64, 96)).shape)
        (1, 3, 8, 12)
    """

    def __init__(self, backbone: Backbone, classes: Sequence[str], scales: Sequence[float] = SCALES) -> None:
        super().__init__()
        self.backbone = backbone
        self.classes = tuple(classes)
        self.scales = tuple(scales)
        self.aspp = Aspp(backbone.channels, len(self.classes) + 1)
        self.freeze("none")

    def freeze(self, spec: str) -> None:
        """Stop a part of the backbone from learning, as `Backbone.freeze` does, and all normalisation."""
        self.backbone.freeze(spec)
        for module in self.backbone.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.requires_grad_(False)

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits float32[B, C + 1, h, w] of images float32[B, 3, H, W] at one scale."""
        result: Tensor = self.aspp(self.backbone(x))
        return result

    def pyramid(self, x: Tensor, scales: Sequence[float]) -> list[Tensor]:
        """Return the logits at every scale, each on a grid of its own."""
        return [self.logits(scaled(x, scale)) for scale in scales]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the logits that a training compares with labels: one of each scale and, when there are
        several, their fusion."""
        pyramid = self.pyramid(x, self.scales)
        return pyramid if len(pyramid) == 1 else [*pyramid, fuse(pyramid, self.scales)]


def fuse(pyramid: Sequence[Tensor], scales: Sequence[float]) -> Tensor:
    """Return the largest of logits [B, K, h_i, w_i], element by element, on the grid of the scale that is
    nearest to 1; the others are brought to it bilinearly."""
    nearest = min(range(len(scales)), key=lambda index: abs(scales[index] - 1))
    size = pyramid[nearest].shape[2:]
    result = pyramid[nearest]
    for index, logits in enumerate(pyramid):
        if index != nearest:
            result = torch.maximum(result, interpolate(logits, size, mode="bilinear", align_corners=False))
    return result


def scaled(x: Tensor, scale: float) -> Tensor:
    """Return images [B, K, H, W] at ⌊s·H⌋ × ⌊s·W⌋ pixels, bilinear."""
    if scale == 1:
        return x
    size = [max(1, int(length * scale)) for length in x.shape[2:]]
    return interpolate(x, size, mode="bilinear", align_corners=False)


def load_deeplab_pytorch(path: Path, classes: Sequence[str]) -> DeepLab:
    """Return the network of a `deeplab-pytorch` checkpoint (ResNet-101, `base.layer1…` to `base.aspp.c3`).

    `classes` are the foreground classes in the order of its outputs, VOC's twenty for its VOC checkpoints.
    Those have learnt from pixel masks: a study that starts from one is not weakly supervised. Raises
    `ConfigError` for any other file or number of classes.
    """
    tensors = deeplab_tensors(read_tensors(path), str(path))
    bias = tensors.get(f"{HEAD}c0.bias")
    if bias is None or len(bias) != len(classes) + 1:
        found = "no such layer" if bias is None else f"{len(bias)} outputs"
        message = f"has {found} in {HEAD}c0, but must have {len(classes) + 1}, the background included"
        raise ConfigError(Problem(str(path), message))
    network = DeepLab(create_backbone("resnet101_caffe", "none", dense=True), classes)
    named = {name if name.startswith(HEAD) else f"backbone.{name}": value for name, value in tensors.items()}
    load_tensors(network, named, str(path), ignore=())
    return network.eval()
