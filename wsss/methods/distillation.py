"""Distilling which sub-category a teacher sees in an image, with a temperature (Hinton et al., 2015)."""

from __future__ import annotations

import torch
from torch import Tensor


def subcategory_distillation(
    logits: Tensor, similarity: Tensor, labels: Tensor, parent: Tensor, *, temperature: float, scale: float
) -> Tensor:
    """Return L_KD float[B] = T² / Σ_c y_c · Σ_c y_c · KL(q_c ‖ p_c); 0 for an image without classes.

    Within each class c, over its sub-categories k: the teacher says q_ck ∝ exp(scale · similarity_ck / T),
    the student p_ck ∝ exp(logits_ck / T). T² keeps gradients about as large at any T.

    Args:
        logits: the student's, float[B, S].
        similarity: of an image to each sub-category, the teacher's, float[B, S] in [−1, 1].
        labels: float[B, C], 1 for classes present.
        parent: int64[S], the class of each sub-category.
        temperature: T, above 0; the higher, the more alike the shares.
        scale: of the similarity, above 0.
    """
    member = torch.nn.functional.one_hot(parent, labels.shape[1]).T.bool()
    teacher = _log_shares(scale * similarity.float() / temperature, member)
    student = _log_shares(logits.float() / temperature, member)
    divergence = (teacher.exp() * (teacher - student)).masked_fill(~member, 0.0).sum(2)
    present = labels.float()
    return temperature**2 * (divergence * present).sum(1) / present.sum(1).clamp(min=1e-12)


def _log_shares(scores: Tensor, member: Tensor) -> Tensor:
    """Return log softmax within each class, float[B, C, S]; 0 where a sub-category isn't of the class."""
    spread = scores[:, None, :].masked_fill(~member, float("-inf"))
    shares = spread - torch.logsumexp(spread, dim=2, keepdim=True)
    return shares.masked_fill(~member, 0.0)
