"""The regulariser `flatness`: class maps that rise high cost."""

from __future__ import annotations

from typing import Any

from wsss.config.parts import REGULARISERS, Regulariser, RegulariserParams


class FlatnessParams(RegulariserParams):
    power: float = 2.0


@REGULARISERS.register
class Flatness(Regulariser[FlatnessParams]):
    name = "flatness"
    params = FlatnessParams
    needs_maps = True

    @classmethod
    def term(cls, params: FlatnessParams, batch: Any) -> Any:
        return (batch.maps.float().abs() ** params.power).mean()
