"""The classification loss and the two regularisers of Mixup-CAM (Chang et al., BMVC 2020).

All of them work on float32, at any precision of the network.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    multilabel_soft_margin_loss,
    one_hot,
)

from wsss.labels import IGNORED
from wsss.methods.pixel_loss import labels_at

ENTROPY_EPSILON = 1e-5
CAM_EPSILON = 1e-5


def classification_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the multi-label soft margin loss, a mean over classes and batch.

    `logits` and `targets` are float[B, C]; targets may be soft (in [0, 1]), the loss is linear in them.
    """
    return multilabel_soft_margin_loss(logits.float(), targets.float())


def mask_loss(maps: Tensor, masks: Tensor) -> Tensor:
    """Return the binary cross entropy of class maps against pixel masks, a mean over classes and cells.

    `maps` float[B, C, h, w] before rectification; `masks` uint8[B, H, W] with 0 background, c + 1 class c
    and 255 ignored, read at the middle of each cell. A batch that is all ignored costs 0.
    """
    classes = maps.shape[1]
    ids = labels_at(masks, maps.shape[2:])
    known = ids != IGNORED
    targets = one_hot(torch.where(known, ids, 0), classes + 1)[..., 1:].float()
    losses = binary_cross_entropy_with_logits(maps.float().permute(0, 2, 3, 1), targets, reduction="none")
    return (losses.mean(-1) * known).sum() / known.sum().clamp(min=1)


def entropy(logits: Tensor, kind: Literal["bernoulli", "softmax"] = "bernoulli") -> Tensor:
    """Return how undecided predictions are, a scalar in nats: 0 (to 1e-5) when sure.

    `bernoulli`: mean over batch and classes of the entropy of σ(z), at most ln 2. `softmax`: mean over
    the batch of the entropy over classes, at most ln C.

    Args:
        logits: float[B, C].
        kind: which distribution the logits stand for.

    Examples:
        >>> round(float(entropy(torch.zeros(1, 4))), 3), round(float(entropy(torch.full((1, 4), 2.0))), 3)
        (0.693, 0.365)
    """
    logits = logits.float()
    if kind == "softmax":
        logs = torch.log_softmax(logits, dim=1)
        return -(logs.exp() * logs).sum(1).mean()
    p = torch.sigmoid(logits)
    on, off = p * torch.log(p + ENTROPY_EPSILON), (1 - p) * torch.log(1 - p + ENTROPY_EPSILON)
    return -(on + off).mean()


def concentration(
    cams: Tensor,
    labels: Tensor,
    coordinates: Literal["unit", "pixel", "scops", "legacy"] = "unit",
    epsilon: float = CAM_EPSILON,
) -> Tensor:
    """Return the spatial variance of the CAMs of present classes, summed over classes: float[B].

    Each map is normalised to mass 1; the variance is that of its position around its own centroid. Linear in
    the labels.

    Args:
        cams: float[B, C, h, w]; the function rectifies them.
        labels: float[B, C], 1 for classes present.
        coordinates: `unit` runs from 0 to 1 between the outermost cells (the same strength at every map
            size), `pixel` counts cells, `scops` spans [−1, 1). `legacy` is `scops` on maps that went through
            a softmax over classes first, as in the first public code: nearly uniform ones.
        epsilon: added to every cell before a map is normalised.

    Examples:
        A map with its mass in one corner, and one with it in two opposite corners:

        >>> maps = torch.zeros(2, 1, 3, 3)
        >>> maps[:, 0, 0, 0] = maps[1, 0, 2, 2] = 1.0
        >>> [round(value, 2) for value in concentration(maps, torch.ones(2, 1)).tolist()]
        [0.0, 0.5]
    """
    cams = cams.float().relu()
    if coordinates == "legacy":
        cams, coordinates = cams.softmax(dim=1), "scops"
    cams = cams + epsilon
    mass = cams / cams.sum(dim=(2, 3), keepdim=True)
    variance = _variance(mass.sum(dim=3), coordinates) + _variance(mass.sum(dim=2), coordinates)
    return (variance * labels).sum(dim=1)


def _variance(mass: Tensor, coordinates: str) -> Tensor:
    """Return the variance of position along the last axis, on which `mass` sums to 1.

    Around the centroid, not Σ P·x² − (Σ P·x)²: on large maps that difference of large numbers loses
    per cents in float32.
    """
    x = _coordinates(mass.shape[-1], coordinates, mass)
    centroid = (mass * x).sum(dim=-1, keepdim=True)
    return (mass * (x - centroid) ** 2).sum(dim=-1)


def _coordinates(count: int, kind: str, like: Tensor) -> Tensor:
    positions = torch.arange(count, dtype=torch.float32, device=like.device)
    if kind == "pixel":
        return positions
    if kind == "scops":
        return 2 * positions / count - 1
    return positions / max(count - 1, 1)
