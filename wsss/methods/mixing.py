"""Mixing the images of a batch, and their labels with them: Mixup, FMix and Manifold Mixup.

Mixup: Zhang et al., ICLR 2018; for CAMs Chang et al., "Mixup-CAM", BMVC 2020. Manifold Mixup: Verma et
al., ICML 2019. The classification loss is linear in the labels, so training on mixed labels equals
mixing the two losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wsss.config.params.stages import MixingParams
from wsss.config.parts import MIXINGS, NOT_MIXED, WayToMix
from wsss.models.computing.precision import sent


@dataclass(frozen=True)
class Mixed:
    """A batch after mixing.

    `images` float32[B, 3, H, W]; `labels` float32[B, C] = weight · labels_a + (1 − weight) · labels_b;
    `weight` float32[B], the share of the first image (1 where nothing was mixed).
    """

    images: Tensor
    labels: Tensor
    labels_a: Tensor
    labels_b: Tensor
    weight: Tensor
    permutation: Tensor
    tap: str = ""
    """Where the network has to mix features; empty when the images are mixed already."""

    def mix_features(self, features: Tensor) -> Tensor:
        """Return features float[B, D, h, w] mixed with the same weights and permutation as the labels."""
        share = self.weight.to(features.dtype)[:, None, None, None]
        return share * features + (1 - share) * features[self.permutation]


class Mixer:
    """Mixes every batch with a permutation of itself, as its parameters say.

    Args:
        params: the kind of mixing and its strength.
        taps: places in the network where Manifold Mixup may mix; a draw picks one by its position.

    Examples:
        >>> mixer = Mixer(MixingParams(kind="mixup", alpha=0.2, fixed=0.7, probability=1.0))
        >>> images = torch.stack([torch.zeros(3, 2, 2), torch.ones(3, 2, 2)])
        >>> mixed = mixer.mix(images, torch.eye(2), torch.Generator().manual_seed(2))
        >>> mixed.permutation.tolist()
        [1, 0]
        >>> [[round(value, 1) for value in row] for row in mixed.labels.tolist()]
        [[0.7, 0.3], [0.3, 0.7]]
    """

    def __init__(self, params: MixingParams, taps: Sequence[str] = ("input",)) -> None:
        self.params = params
        self.taps = tuple(taps)
        self.way = MIXINGS.get(params.kind) or WayToMix

    def mix(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Mixed:
        """Mix a batch with a permutation of itself, or leave it as it is when the parameters say so.

        Args:
            images: float32[B, 3, H, W].
            labels: float32[B, C].
            generator: of all random choices; on the CPU, so that they are the same on every device.
        """
        count = len(images)
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        if self.params.kind == NOT_MIXED or rng.random() >= self.params.probability:
            return unmixed(images, labels)
        permutation = sent(torch.from_numpy(rng.permutation(count)), images.device)
        draws = count if self.params.per_sample else 1
        weights = rng.beta(self.params.alpha, self.params.alpha, size=draws)
        if self.params.fixed is not None:
            weights = np.full(draws, self.params.fixed)
        height, width = images.shape[2:]
        shares = self.way.shares(self.params, (height, width), weights, rng)
        weights = shares.mean(axis=(1, 2), dtype=np.float64)  # the share that is mixed, not the one drawn
        share = sent(torch.as_tensor(shares, dtype=torch.float32), images.device)[:, None]
        weight = sent(torch.as_tensor(weights, dtype=torch.float32), images.device).expand(count)
        # Drawn last, so that mixing at the input is Mixup, number by number.
        tap = self.taps[int(rng.integers(len(self.taps)))] if self.way.at_taps else "input"
        mixed = share * images + (1 - share) * images[permutation] if tap == "input" else images
        other = labels[permutation]
        mixed_labels = weight[:, None] * labels + (1 - weight[:, None]) * other
        return Mixed(
            images=mixed,
            labels=mixed_labels,
            labels_a=labels,
            labels_b=other,
            weight=weight,
            permutation=permutation,
            tap="" if tap == "input" else tap,
        )


def unmixed(images: Tensor, labels: Tensor) -> Mixed:
    """Return a batch as if it had been mixed with weight 1."""
    count = len(images)
    identity = torch.arange(count, device=images.device)
    return Mixed(images, labels, labels, labels, torch.ones(count, device=images.device), identity)
