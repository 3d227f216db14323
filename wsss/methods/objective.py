"""The training objective, put together from its parts; it knows no method by name."""

from __future__ import annotations

from torch import Tensor

from wsss.config.params import ConcentrationParams, EntropyParams
from wsss.methods.mixing import Mixed
from wsss.methods.regularisers import classification_loss, concentration, entropy


class Objective:
    """L = L_cls(z, ŷ) + w_ent · L_ent(z) + w_con · L_con(M), on the mixed batch.

    The concentration of a mixed batch is weight · L_con(y_a) + (1 − weight) · L_con(y_b) on the same
    maps; being linear in the labels, it is that of the mixed labels. Terms with weight 0 are not computed.
    """

    def __init__(self, entropy: EntropyParams, concentration: ConcentrationParams) -> None:
        self.entropy = entropy
        self.concentration = concentration

    @property
    def needs_cams(self) -> bool:
        return self.concentration.weight > 0

    def __call__(self, logits: Tensor, cams: Tensor | None, mixed: Mixed) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the total and its unweighted terms, scalars of float32.

        `logits` float[B, C] of the mixed images; `cams` float[B, C, h, w] before rectification, needed
        only when `needs_cams`.
        """
        terms = {"classification": classification_loss(logits, mixed.labels)}
        total = terms["classification"]
        if self.entropy.weight:
            terms["entropy"] = entropy(logits, self.entropy.kind)
            total = total + self.entropy.weight * terms["entropy"]
        if self.needs_cams:
            assert cams is not None
            spread = concentration(cams, mixed.labels, self.concentration.coordinates)
            terms["concentration"] = spread.mean()
            total = total + self.concentration.weight * terms["concentration"]
        return total, terms
