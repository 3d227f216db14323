"""ResNet-38 (Wu et al., "Wider or Deeper", 2016, model A1), dilated to output stride 8.

The wide, pre-activated network of AffinityNet (Ahn and Kwak, CVPR 2018) and its successors. Tensors have
the names of their releases, so that published checkpoints load.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.functional import relu

from wsss.models.backbone import Backbone
from wsss.models.kinds import resnet38 as kinds
from wsss.models.pretrained.tensor_files import load_tensors
from wsss.models.pretrained.weights import stored_tensors

STATISTICS = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_var": "running_var"}
MXNET = re.compile(r"(?:arg|aux):(res|bn)(\d)(?:a|b(\d+))_(branch\w+?)_(weight|gamma|beta|moving_\w+)")


def _conv(inputs: int, outputs: int, size: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    padding = dilation if size == 3 else 0
    return nn.Conv2d(inputs, outputs, size, stride, padding, dilation, bias=False)


class Basic(nn.Module):
    """u = ReLU(BN(x)); two 3×3 convolutions of u are added to x, or to a 1×1 convolution of u."""

    def __init__(
        self, inputs: int, middle: int, outputs: int, stride: int = 1, dilations: tuple[int, int] = (1, 1)
    ) -> None:
        super().__init__()
        self.bn_branch2a = nn.BatchNorm2d(inputs)
        self.conv_branch2a = _conv(inputs, middle, 3, stride, dilations[0])
        self.bn_branch2b1 = nn.BatchNorm2d(middle)
        self.conv_branch2b1 = _conv(middle, outputs, 3, 1, dilations[1])
        self.same = inputs == outputs and stride == 1
        if not self.same:
            self.conv_branch1 = _conv(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        u = relu(self.bn_branch2a(x))
        branch: Tensor = self.conv_branch2b1(relu(self.bn_branch2b1(self.conv_branch2a(u))))
        shortcut: Tensor = x if self.same else self.conv_branch1(u)
        return branch + shortcut


class Bottleneck(nn.Module):
    """1×1, dilated 3×3 and 1×1 convolutions of u = ReLU(BN(x)), added to a 1×1 convolution of u."""

    def __init__(self, inputs: int, outputs: int, dropout: float, dilation: int = 4) -> None:
        super().__init__()
        narrow, wide = outputs // 4, outputs // 2
        self.bn_branch2a = nn.BatchNorm2d(inputs)
        self.conv_branch2a = _conv(inputs, narrow, 1)
        self.dropout_2b1 = nn.Dropout2d(dropout)
        self.bn_branch2b1 = nn.BatchNorm2d(narrow)
        self.conv_branch2b1 = _conv(narrow, wide, 3, 1, dilation)
        self.dropout_2b2 = nn.Dropout2d(dropout)
        self.bn_branch2b2 = nn.BatchNorm2d(wide)
        self.conv_branch2b2 = _conv(wide, outputs, 1)
        self.conv_branch1 = _conv(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        u = relu(self.bn_branch2a(x))
        branch: Tensor = relu(self.bn_branch2b1(self.conv_branch2a(u)))
        branch = relu(self.bn_branch2b2(self.conv_branch2b1(self.dropout_2b1(branch))))
        branch = self.conv_branch2b2(self.dropout_2b2(branch))
        shortcut: Tensor = self.conv_branch1(u)
        return branch + shortcut


class ResNet38(kinds.ResNet38, Backbone):
    def __init__(self) -> None:
        super().__init__()
        self.conv1a = _conv(3, 64, 3)
        self.b2, self.b2_1, self.b2_2 = Basic(64, 128, 128, 2), Basic(128, 128, 128), Basic(128, 128, 128)
        self.b3, self.b3_1, self.b3_2 = Basic(128, 256, 256, 2), Basic(256, 256, 256), Basic(256, 256, 256)
        self.b4 = Basic(256, 512, 512, 2)
        for number in range(1, 6):
            self.add_module(f"b4_{number}", Basic(512, 512, 512))
        self.b5 = Basic(512, 512, 1024, dilations=(1, 2))
        self.b5_1, self.b5_2 = (Basic(1024, 512, 1024, dilations=(2, 2)) for _ in range(2))
        self.b6 = Bottleneck(1024, 2048, dropout=0.3)
        self.b7 = Bottleneck(2048, 4096, dropout=0.5)
        self.bn7 = nn.BatchNorm2d(4096)

    def segments(self) -> list[nn.Module]:
        fourth = [self.b4, *(getattr(self, f"b4_{number}") for number in range(1, 6))]
        return [
            nn.Sequential(self.conv1a, self.b2, self.b2_1, self.b2_2),
            nn.Sequential(self.b3, self.b3_1, self.b3_2),
            nn.Sequential(*fourth),
            nn.Sequential(self.b5, self.b5_1, self.b5_2),
            self.b6,
            nn.Sequential(self.b7, self.bn7, nn.ReLU()),
        ]

    def load_weights(self, weights: str) -> None:
        """Load a release's state dict, or the ImageNet weights as MXNet keeps them (`.params`)."""
        tensors, source = stored_tensors(self.name, weights)
        if any(name.startswith("arg:") for name in tensors):
            tensors = from_mxnet(tensors)
        load_tensors(self, tensors, source, ignore=("fc8", "linear1000"))


def from_mxnet(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return MXNet's tensors under their names here: `arg:res4b2_branch2a_weight` is
    `b4_2.conv_branch2a.weight`. Unknown names are left as they are, for the error that names them."""
    renamed = {}
    for name, tensor in tensors.items():
        bare = name.partition(":")[2] or name
        match = MXNET.fullmatch(name)
        if match:
            kind, group, number, branch, last = match.groups()
            block = f"b{group}" + (f"_{number}" if number else "")
            layer = "conv" if kind == "res" else "bn"
            renamed[f"{block}.{layer}_{branch}.{STATISTICS.get(last, last)}"] = tensor
        elif bare.startswith("bn7_"):
            renamed[f"bn7.{STATISTICS.get(bare.removeprefix('bn7_'), bare)}"] = tensor
        else:
            renamed[bare.replace("conv1a_weight", "conv1a.weight")] = tensor
    return renamed
