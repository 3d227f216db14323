"""CutMix: a box of another image (Yun et al., ICCV 2019)."""

from __future__ import annotations

from typing import Any

from wsss.config.params.stages import MixingParams
from wsss.config.parts import MIXINGS, WayToMix


@MIXINGS.register
class CutMix(WayToMix):
    """A box with the image's proportions and 1 − λ of its area comes from the other image.

    Its middle is uniform over the pixels; what lies outside of the image is cut off, as in the authors' code,
    and labels are weighted with the pixels that are left. torchvision's own draws λ itself, one for a batch
    that it pairs in order, so that neither `fixed` nor `per_sample` could be honoured; boxes are equal.
    """

    name = "cutmix"
    alpha = 1.0

    @classmethod
    def shares(cls, params: MixingParams, size: tuple[int, int], weights: Any, rng: Any) -> Any:
        import numpy as np

        shares = np.ones((len(weights), *size), np.float32)
        for share, weight in zip(shares, weights, strict=True):
            (top, bottom), (left, right) = (
                _span(length, float(weight), int(rng.integers(length))) for length in size
            )
            share[top:bottom, left:right] = 0
        return shares


def _span(length: int, weight: float, middle: int) -> tuple[int, int]:
    """Return where a box begins and ends along one axis, in pixels."""
    half = int(0.5 * (1 - weight) ** 0.5 * length)
    return max(0, middle - half), min(length, middle + half)
