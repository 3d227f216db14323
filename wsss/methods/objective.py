"""The training objective, put together from its parts; it knows no method by name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from wsss.config.params.stages import ClassifierParams
from wsss.config.parts import REGULARISERS
from wsss.methods.distillation import subcategory_distillation
from wsss.methods.losses import classification_loss, mask_loss
from wsss.methods.mixing import Mixed


class Batch(NamedTuple):
    """What a regulariser looks at of a mixed batch: `logits` and `labels` float[B, C]; `maps`
    float[B, C, h, w] before rectification, None unless a term needs them; and how the batch was mixed."""

    logits: Tensor
    labels: Tensor
    maps: Tensor | None
    mixed: Mixed


class Objective:
    """L = L_cls(z, y) + Σ w_r · L_r + w_sub · ((1 − a) · L_cls(zˢ, yˢ) + a · L_KD) on the mixed batch, with
    all regularisers r that there are.

    Distillation, which is not linear in the labels, is mixed as a loss. Terms with weight 0 are not computed.

    A mixed batch's labels are float[B, C], with `parent` int64[S] (the class of each sub-category) they
    are float[B, C + 2S]: the classes, the sub-categories, and the teacher's similarity to each.
    """

    def __init__(self, params: ClassifierParams, parent: Tensor | None = None) -> None:
        self.regularisers = {name: group for name, group in params.regularisers.items() if group.weight}
        self.distillation = params.distillation
        self.parent = parent
        self.on_masks = params.supervision == "masks"
        share = params.distillation.weight if parent is not None else 0.0
        whole = params.subcategory_weight if parent is not None else 0.0
        self.weights = {
            "classification": 1.0,
            "masks": 1.0,
            **{name: group.weight for name, group in self.regularisers.items()},
            "subcategories": whole * (1 - share),
            "distillation": whole * share,
        }

    @property
    def needs_cams(self) -> bool:
        return self.on_masks or any(REGULARISERS[name].needs_maps for name in self.regularisers)

    def __call__(
        self,
        logits: Tensor,
        cams: Tensor | None,
        mixed: Mixed,
        sub_logits: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the total and its unweighted terms, scalars of float32.

        Args:
            logits: of the mixed images, float[B, C].
            cams: before rectification, float[B, C, h, w]; needed only when `needs_cams`.
            mixed: the batch.
            sub_logits: float[B, S], needed with sub-categories.
            masks: uint8[B, H, W], needed with `supervision: masks`, whose loss stands in for the
                classification's.
        """
        classes = logits.shape[1]
        labels = mixed.labels[:, :classes]
        if self.on_masks:
            assert cams is not None
            assert masks is not None
            terms = {"masks": mask_loss(cams, masks)}
        else:
            terms = {"classification": classification_loss(logits, labels)}
        batch = Batch(logits, labels, cams, mixed)
        for name, group in self.regularisers.items():
            terms[name] = REGULARISERS[name].term(group, batch)
        if self.parent is not None:
            assert sub_logits is not None
            count = len(self.parent)
            if self.weights["subcategories"]:
                terms["subcategories"] = classification_loss(
                    sub_logits, mixed.labels[:, classes : classes + count]
                )
            if self.weights["distillation"]:
                terms["distillation"] = self._distillation(sub_logits, mixed, classes)
        total = torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
        return total, terms

    def gradient_shares(
        self, terms: Mapping[str, Tensor], features: Tensor, scales: Sequence[float] = (1.0,)
    ) -> dict[str, float]:
        """Return, per term, the norm of its weighted gradient at the features over the sum of all norms.

        A regulariser whose share is next to nothing is switched off, however large its weight. Call
        it before `backward`. The result is empty when the features don't learn.

        Args:
            terms: those that a call of the objective returned.
            features: float[B, D, h, w], what the terms were computed from.
            scales: factors of a term, from large to small. The first with a finite gradient counts, whose
                norm is divided by it: in float16 small gradients would vanish.
        """
        if not features.requires_grad or len(terms) < 2:
            return {}
        norms = dict.fromkeys(terms, 0.0)
        left = {name: self.weights[name] * term for name, term in terms.items()}
        for scale in scales:
            found = {name: _gradient_norm(term, features, scale) for name, term in left.items()}
            learning = {name: norm for name, norm in found.items() if norm is not None}
            if learning:
                values = torch.stack(list(learning.values())).tolist()  # the CPU waits for a GPU once
                norms |= {name: value / scale for name, value in zip(learning, values, strict=True)}
            left = {name: left[name] for name in learning if not math.isfinite(norms[name])}
            if not left:
                break
        total = sum(norms.values())
        return {name: norm / total for name, norm in norms.items()} if total > 0 else {}

    def _distillation(self, sub_logits: Tensor, mixed: Mixed, classes: int) -> Tensor:
        assert self.parent is not None
        count = len(self.parent)

        def loss(labels: Tensor) -> Tensor:
            assert self.parent is not None
            return subcategory_distillation(
                sub_logits,
                labels[:, classes + count :],
                labels[:, :classes],
                self.parent,
                temperature=self.distillation.temperature,
                scale=self.distillation.similarity_scale,
            )

        first = mixed.weight * loss(mixed.labels_a)
        return (first + (1 - mixed.weight) * loss(mixed.labels_b)).mean()


def _gradient_norm(term: Tensor, features: Tensor, scale: float) -> Tensor | None:
    """Return the norm of `scale` times a term's gradient at the features, a scalar on their device; None
    where it has none."""
    if not term.requires_grad:
        return None
    scaled = term if scale == 1 else scale * term
    (gradient,) = torch.autograd.grad(scaled, features, retain_graph=True, allow_unused=True)
    if gradient is None:
        return None
    norm: Tensor = gradient.float().norm()
    return norm
