"""What is known of ResNet-50 and -101."""

from __future__ import annotations

from wsss.models.kind import BackboneKind, Tap, register


class ResNetKind(BackboneKind):
    rests_on = ("image",)
    channels = 2048
    stride = 16
    dense = True
    taps = (
        Tap("stem", 64, 4),
        Tap("layer1", 256, 4),
        Tap("layer2", 512, 8),
        Tap("layer3", 1024, 16),
        Tap("layer4", 2048, 16),
    )
    default_freeze = "layer2"
    affinity_taps = ("layer2", "layer3", "layer4")
    boundary_taps = ("stem", "layer1", "layer2", "layer3", "layer4")


@register
class ResNet50(ResNetKind):
    name = "resnet50"
    work = "wsss.models.backbones.resnet:ResNet50"


@register
class ResNet101(ResNetKind):
    name = "resnet101"
    work = "wsss.models.backbones.resnet:ResNet101"
