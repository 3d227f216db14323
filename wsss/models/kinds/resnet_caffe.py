"""What is known of Caffe's ResNet-101."""

from __future__ import annotations

from typing import ClassVar

from wsss.models.kind import BackboneKind, Statistics, Tap, register


@register
class ResNet101Caffe(BackboneKind):
    """Dense it is DeepLabv2's: stages 4 and 5 look 2 and 4 times as far apart."""

    name: ClassVar[str] = "resnet101_caffe"
    work = "wsss.models.backbones.resnet_caffe:ResNet101Caffe"
    channels: ClassVar[int] = 2048
    stride: ClassVar[int] = 16
    dense: ClassVar[bool] = True
    taps: ClassVar[tuple[Tap, ...]] = (
        Tap("layer1", 64, 4),
        Tap("layer2", 256, 4),
        Tap("layer3", 512, 8),
        Tap("layer4", 1024, 16),
        Tap("layer5", 2048, 16),
    )
    mean: ClassVar[Statistics] = (122.675 / 255, 116.669 / 255, 104.008 / 255)
    std: ClassVar[Statistics] = (1 / 255, 1 / 255, 1 / 255)
    default_freeze: ClassVar[str] = "layer3"
    affinity_taps: ClassVar[tuple[str, ...]] = ("layer3", "layer4", "layer5")
    boundary_taps: ClassVar[tuple[str, ...]] = ("layer1", "layer2", "layer3", "layer4", "layer5")
    frozen_norms: ClassVar[bool] = True
