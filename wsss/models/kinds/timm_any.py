"""Backbones `timm/NAME`: only timm knows what they are, so that asking for one imports it."""

from __future__ import annotations

from wsss.models.kind import BackboneKind, register_family

PREFIX = "timm/"


def _timm_backbone(name: str) -> type[BackboneKind]:
    from wsss.models.backbones.timm_any import timm_backbone

    return timm_backbone(name)


register_family(PREFIX, _timm_backbone)
