"""The regulariser `entropy`: undecided predictions cost (Chang et al., "Mixup-CAM", BMVC 2020)."""

from __future__ import annotations

from typing import Any

from wsss.config.params.stages import EntropyParams
from wsss.config.parts import REGULARISERS, Regulariser


@REGULARISERS.register
class Entropy(Regulariser[EntropyParams]):
    name = "entropy"
    params = EntropyParams

    @classmethod
    def term(cls, params: EntropyParams, batch: Any) -> Any:
        from wsss.methods.losses import entropy

        return entropy(batch.logits if params.of == "predictions" else batch.labels, params.kind)
