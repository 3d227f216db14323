"""The regulariser `concentration`: spread-out class maps cost (Chang et al., "Mixup-CAM", BMVC 2020).

That of a mixed batch is weight · L(y_a) + (1 − weight) · L(y_b) on the same maps; being linear in the labels,
it is that of the mixed labels.
"""

from __future__ import annotations

from typing import Any

from wsss.config.params.stages import ConcentrationParams
from wsss.config.parts import REGULARISERS, Regulariser


@REGULARISERS.register
class Concentration(Regulariser[ConcentrationParams]):
    name = "concentration"
    params = ConcentrationParams
    needs_maps = True

    @classmethod
    def term(cls, params: ConcentrationParams, batch: Any) -> Any:
        from wsss.methods.losses import concentration

        return concentration(batch.maps, batch.labels, params.coordinates).mean()
