"""Manifold Mixup: features instead of images (Verma et al., ICML 2019)."""

from __future__ import annotations

from wsss.config.parts import MIXINGS, WayToMix


@MIXINGS.register
class Manifold(WayToMix):
    name = "manifold"
    at_taps = True
