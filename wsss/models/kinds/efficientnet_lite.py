"""What is known of EfficientNet-Lite0, -Lite1 and -Lite2."""

from __future__ import annotations

from wsss.models.kind import BackboneKind, Tap, register


def _taps(*blocks: int) -> tuple[Tap, ...]:
    """Return a tap after every stage of blocks, which have these channels."""
    strides = (2, 4, 8, 16, 16, 16, 16)
    named = (
        Tap(f"blocks{number}", channels, stride)
        for number, (channels, stride) in enumerate(zip(blocks, strides, strict=True))
    )
    return (Tap("stem", 32, 2), *named, Tap("head", 1280, 16))


class EfficientNetLiteKind(BackboneKind):
    """Taps after every stage of blocks; the last one is the 1280-channel convolution before pooling."""

    rests_on = ("image",)
    channels = 1280
    stride = 16
    dense = True
    taps = _taps(16, 24, 40, 80, 112, 192, 320)
    mean = (0.5, 0.5, 0.5)
    std = (0.5, 0.5, 0.5)
    depthwise = True
    default_freeze = "blocks2"
    affinity_taps = ("blocks2", "blocks4", "blocks6")
    boundary_taps = ("blocks0", "blocks1", "blocks2", "blocks4", "blocks6")


@register
class EfficientNetLite0(EfficientNetLiteKind):
    name = "efficientnet_lite0"
    work = "wsss.models.backbones.efficientnet_lite:EfficientNetLite0"


@register
class EfficientNetLite1(EfficientNetLiteKind):
    name = "efficientnet_lite1"
    work = "wsss.models.backbones.efficientnet_lite:EfficientNetLite1"


@register
class EfficientNetLite2(EfficientNetLiteKind):
    name = "efficientnet_lite2"
    work = "wsss.models.backbones.efficientnet_lite:EfficientNetLite2"
    taps = _taps(16, 24, 48, 88, 120, 208, 352)
