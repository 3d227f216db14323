"""FMix: masks of low-frequency noise (Harris et al., 2020)."""

from __future__ import annotations

from typing import Any

from wsss.config.params.stages import MixingParams
from wsss.config.parts import MIXINGS, WayToMix


@MIXINGS.register
class FMix(WayToMix):
    name = "fmix"
    alpha = 1.0

    @classmethod
    def shares(cls, params: MixingParams, size: tuple[int, int], weights: Any, rng: Any) -> Any:
        import numpy as np

        from wsss.methods.fmix import fmix_mask

        masks = [
            fmix_mask(
                *size,
                float(weight),
                decay=params.decay,
                max_soft=params.max_soft,
                sampler=params.sampler,
                rng=rng,
            )
            for weight in weights
        ]
        return np.stack(masks)
