"""Mixup: all pixels alike (Zhang et al., ICLR 2018)."""

from __future__ import annotations

from wsss.config.parts import MIXINGS, WayToMix


@MIXINGS.register
class Mixup(WayToMix):
    name = "mixup"
