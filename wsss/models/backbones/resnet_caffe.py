"""ResNet-101 as Caffe had it, the trunk of the released DeepLabv2 networks (Chen et al., PAMI 2018).

It differs from torchvision's: the strides are in the 1×1 convolutions, the pooling covers odd edges, and it
was trained on blue, green and red in 0–255 minus their means. Tensors have the names of `deeplab-pytorch`,
whose checkpoints therefore load as they are; pictures come in as for every backbone, red first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.functional import relu

from wsss.errors import ConfigError, Problem
from wsss.models.backbone import Backbone
from wsss.models.kinds import resnet_caffe as kinds
from wsss.models.pretrained.tensor_files import load_tensors
from wsss.models.pretrained.weights import stored_tensors

FIRST = "layer1.conv1.conv.weight"
PREFIX = "base."
HEAD = "aspp."


def _conv_norm(inputs: int, outputs: int, size: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, size, stride, dilation * (size // 2), dilation, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(outputs)))


class _Block(nn.Module):
    """1×1 (with the stride), dilated 3×3 and 1×1 convolutions, added to the input or a 1×1 one of it."""

    def __init__(self, inputs: int, outputs: int, stride: int, dilation: int) -> None:
        super().__init__()
        narrow = outputs // 4
        self.reduce = _conv_norm(inputs, narrow, 1, stride)
        self.conv3x3 = _conv_norm(narrow, narrow, 3, 1, dilation)
        self.increase = _conv_norm(narrow, outputs, 1)
        self.shortcut = nn.Identity() if inputs == outputs else _conv_norm(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.increase(relu(self.conv3x3(relu(self.reduce(x)))))
        shortcut: Tensor = self.shortcut(x)
        return relu(branch + shortcut)


def _stage(count: int, inputs: int, outputs: int, stride: int, dilation: int = 1) -> nn.Sequential:
    blocks: OrderedDict[str, nn.Module] = OrderedDict(block1=_Block(inputs, outputs, stride, dilation))
    for number in range(2, count + 1):
        blocks[f"block{number}"] = _Block(outputs, outputs, 1, dilation)
    return nn.Sequential(blocks)


class _BlueFirst(nn.Module):
    """Red, green, blue to blue, green, red."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flip(1)


class ResNet101Caffe(kinds.ResNet101Caffe, Backbone):
    def __init__(self) -> None:
        super().__init__()
        dense = self.stride == 8
        self.layer1 = nn.Sequential(OrderedDict(conv1=_conv_norm(3, 64, 7, 2)))
        self.pool = nn.MaxPool2d(3, 2, 1, ceil_mode=dense)
        self.layer2 = _stage(3, 64, 256, 1)
        self.layer3 = _stage(4, 256, 512, 2)
        self.layer4 = _stage(23, 512, 1024, 1 if dense else 2, 2 if dense else 1)
        self.layer5 = _stage(3, 1024, 2048, 1, 4 if dense else 2)

    def segments(self) -> list[nn.Module]:
        stem = nn.Sequential(_BlueFirst(), self.layer1, nn.ReLU(), self.pool)
        return [stem, self.layer2, self.layer3, self.layer4, self.layer5]

    def load_weights(self, weights: str) -> None:
        tensors, source = stored_tensors(self.name, weights)
        load_tensors(self, deeplab_tensors(tensors, source), source, ignore=(HEAD, "fc."))


def deeplab_tensors(tensors: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Return the tensors of a `deeplab-pytorch` checkpoint without the prefix that its multi-scale wrapper
    adds. Raises `ConfigError` for any other layout."""
    found = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
    if FIRST not in found:
        message = f"has no {FIRST}, which every ResNet-101 of deeplab-pytorch has"
        first = next(iter(tensors), "nothing")
        hint = f"it begins with {first}; torchvision's weights belong into `backbone: resnet101`"
        raise ConfigError(Problem(source, message, hint))
    return found
