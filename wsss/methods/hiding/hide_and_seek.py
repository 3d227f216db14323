"""Hide-and-seek: patches of a grid are hidden (Singh and Lee, ICCV 2017)."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from wsss.config.params.base import Probability
from wsss.config.parts import HIDINGS, HidingParams, WayToHide


class HideAndSeekParams(HidingParams):
    """Each patch of a grid is hidden with a probability of its own."""

    grids: Annotated[
        tuple[Annotated[int, Field(ge=1, le=1024)], ...], Field(min_length=1, max_length=64)
    ] = (4, 5, 7, 14)  # fmt: skip
    """Patches along a side, one number drawn for every image: the paper's 56, 44, 32 and 16 of 224 pixels."""
    hidden: Probability = 0.5
    """Share of the patches that are hidden, on average."""


@HIDINGS.register
class HideAndSeek(WayToHide[HideAndSeekParams]):
    name = "hide_and_seek"
    params = HideAndSeekParams

    @classmethod
    def hide(cls, params: HideAndSeekParams, image: Any, rng: Any) -> Any:
        import torch

        from wsss.models.computing.precision import sent

        count = params.grids[int(rng.integers(len(params.grids)))]
        patches = torch.from_numpy(rng.random((count, count)) >= params.hidden)
        rows, columns = (torch.arange(length) * count // length for length in image.shape[1:])
        return image * sent(patches[rows][:, columns], image.device)
