"""Backbones `timm/NAME`: only timm knows what they are, so that asking for one imports it."""

from __future__ import annotations

from wsss.models.kind import BackboneKind, register_family
from wsss.plugins import loaded

PREFIX = "timm/"


def _timm_backbone(name: str) -> type[BackboneKind]:
    found: type[BackboneKind] = loaded("wsss.models.backbones.timm_any:timm_backbone")(name)
    return found


register_family(PREFIX, _timm_backbone)
