"""What is known of ResNet-38d."""

from __future__ import annotations

from types import MappingProxyType

from wsss.models.kind import BackboneKind, Tap, register


@register
class ResNet38(BackboneKind):
    """Taps after every group of blocks: raw sums, but for the last, the normalised, rectified output.

    Batch normalisation is frozen altogether, as in every release.
    """

    name = "resnet38"
    work = "wsss.models.backbones.resnet38:ResNet38"
    rests_on = ("image",)
    channels = 4096
    stride = 8
    taps = (
        Tap("b2", 128, 2),
        Tap("b3", 256, 4),
        Tap("b4", 512, 8),
        Tap("b5", 1024, 8),
        Tap("b6", 2048, 8),
        Tap("bn7", 4096, 8),
    )
    default_freeze = "b2"
    affinity_taps = ("b4", "b5", "bn7")
    boundary_taps = ("b2", "b3", "b4", "b5", "b6")
    next_norms = MappingProxyType({f"b{number}": f"b{number + 1}.bn_branch2a" for number in range(2, 7)})
    frozen_norms = True
