"""How a segmentation network's logits are compared with labels, some of which are wrong or unknown."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate

from wsss.config.params.stages import SegmentationLossParams
from wsss.labels import IGNORED


def labels_at(labels: Tensor, size: Sequence[int]) -> Tensor:
    """Return int64[B, h, w], the labels uint8[B, H, W] nearest to the centres of a grid of `size` (h, w)."""
    return interpolate(labels[:, None].float(), list(size), mode="nearest-exact")[:, 0].long()


class SegmentationLoss:
    """A mean over pixels whose label isn't 255, in parts that add up to it.

    Call `counts` for the labels of all parts first. Each part is divided by what all of them hold, so that
    the sum is the same however a batch is cut. `balanced` is the mean of two means, over background pixels
    and over those of classes, as in DSRG (Huang et al., CVPR 2018); where one has no pixel it is the other.
    `bootstrapped` is −trust · log p_label − (1 − trust) · log max p (Reed et al., ICLR 2015 workshop, hard).
    """

    def __init__(self, params: SegmentationLossParams) -> None:
        self.params = params

    def counts(self, labels: Tensor) -> Tensor:
        """Return int64[2], the pixels of background and of classes in labels int64[B, h, w]."""
        background = (labels == 0).sum()
        return torch.stack([background, (labels != IGNORED).sum() - background])

    def __call__(self, logits: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
        """Return a part's share of the loss, a scalar; 0, with gradients of 0, where no label is known.

        Args:
            logits: float32[B, C + 1, h, w].
            labels: int64[B, h, w] in 0..C or 255.
            counts: int64[2], those of all parts.
        """
        losses = cross_entropy(logits, labels, ignore_index=IGNORED, reduction="none")
        if self.params.kind == "bootstrapped":
            own = -logits.log_softmax(1).amax(1)
            losses = self.params.trust * losses + (1 - self.params.trust) * own * (labels != IGNORED)
        if self.params.kind != "balanced":
            return losses.sum() / counts.sum().clamp(min=1)
        groups = torch.stack([(losses * (labels == 0)).sum(), (losses * (labels != 0)).sum()])
        return (groups / counts.clamp(min=1)).sum() / (counts > 0).sum().clamp(min=1)


def pyramid_loss(loss: SegmentationLoss, pyramid: Sequence[Tensor], labels: Tensor, counts: Tensor) -> Tensor:
    """Return the sum of a part's losses at every level of logits float[B, C + 1, h_i, w_i].

    Args:
        loss: computes one level's.
        pyramid: the logits of each level.
        labels: uint8[B, H, W]; each level sees them on its own grid.
        counts: int64[levels, 2], those of all parts at each level.
    """
    terms = [
        loss(logits.float(), labels_at(labels, logits.shape[2:]), count)
        for logits, count in zip(pyramid, counts, strict=True)
    ]
    return torch.stack(terms).sum()
