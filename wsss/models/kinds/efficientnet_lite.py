"""What is known of EfficientNet-Lite0."""

from __future__ import annotations

from typing import ClassVar

from wsss.models.kind import BackboneKind, Statistics, Tap, register


@register
class EfficientNetLite0(BackboneKind):
    """Taps after every stage of blocks; the last one is the 1280-channel convolution before pooling."""

    name: ClassVar[str] = "efficientnet_lite0"
    work = "wsss.models.backbones.efficientnet_lite:EfficientNetLite0"
    channels: ClassVar[int] = 1280
    stride: ClassVar[int] = 16
    dense: ClassVar[bool] = True
    taps: ClassVar[tuple[Tap, ...]] = (
        Tap("stem", 32, 2),
        Tap("blocks0", 16, 2),
        Tap("blocks1", 24, 4),
        Tap("blocks2", 40, 8),
        Tap("blocks3", 80, 16),
        Tap("blocks4", 112, 16),
        Tap("blocks5", 192, 16),
        Tap("blocks6", 320, 16),
        Tap("head", 1280, 16),
    )
    mean: ClassVar[Statistics] = (0.5, 0.5, 0.5)
    std: ClassVar[Statistics] = (0.5, 0.5, 0.5)
    depthwise: ClassVar[bool] = True
    default_freeze: ClassVar[str] = "blocks2"
    affinity_taps: ClassVar[tuple[str, ...]] = ("blocks2", "blocks4", "blocks6")
    boundary_taps: ClassVar[tuple[str, ...]] = ("blocks0", "blocks1", "blocks2", "blocks4", "blocks6")
