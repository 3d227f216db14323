"""What is known of Caffe's ResNet-101."""

from __future__ import annotations

from wsss.models.kind import BackboneKind, Tap, register


@register
class ResNet101Caffe(BackboneKind):
    """Dense it is DeepLabv2's: stages 4 and 5 look 2 and 4 times as far apart."""

    name = "resnet101_caffe"
    work = "wsss.models.backbones.resnet_caffe:ResNet101Caffe"
    rests_on = ("image",)
    channels = 2048
    stride = 16
    dense = True
    taps = (
        Tap("layer1", 64, 4),
        Tap("layer2", 256, 4),
        Tap("layer3", 512, 8),
        Tap("layer4", 1024, 16),
        Tap("layer5", 2048, 16),
    )
    mean = (122.675 / 255, 116.669 / 255, 104.008 / 255)
    std = (1 / 255, 1 / 255, 1 / 255)
    default_freeze = "layer3"
    affinity_taps = ("layer3", "layer4", "layer5")
    boundary_taps = ("layer1", "layer2", "layer3", "layer4", "layer5")
    frozen_norms = True
