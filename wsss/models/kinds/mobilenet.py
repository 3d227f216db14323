"""What is known of MobileNetV2."""

from __future__ import annotations

from wsss.models.kind import BackboneKind, Tap, register


@register
class MobileNetV2(BackboneKind):
    """Taps where torchvision's trunk `features` is cut, named after its blocks."""

    rests_on = ("image",)
    name = "mobilenet_v2"
    work = "wsss.models.backbones.mobilenet:MobileNetV2"
    channels = 1280
    stride = 16
    dense = True
    taps = (
        Tap("blocks1", 16, 2),
        Tap("blocks3", 24, 4),
        Tap("blocks6", 32, 8),
        Tap("blocks13", 96, 16),
        Tap("blocks17", 320, 16),
        Tap("head", 1280, 16),
    )
    depthwise = True
    default_freeze = "blocks6"
    affinity_taps = ("blocks6", "blocks13", "blocks17")
    boundary_taps = ("blocks1", "blocks3", "blocks6", "blocks13", "blocks17")
