"""Stage `walk`: the scores after a random walk over affinities; `pseudo_masks` decides by them later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from wsss.config.params.stages import WalkedParams, WalkStageParams
from wsss.data.beside import Beside
from wsss.errors import StageError
from wsss.files import read_json, write_json
from wsss.stages.contract import Context
from wsss.stages.refining.walker import settled
from wsss.stages.refining.walking import WalkingStage
from wsss.stages.shards import CamShards, split_shards, write_index, write_shard

ABOUT, SIZES = "about.json", "sizes.json"
"""The exponents of the backgrounds that walked, a cell's pixels, and (height, width) of smaller copies."""


class Walk(WalkingStage):
    """One step walks a shard. Files: shards of float32[k + n, h, w] on the grid, the k backgrounds first."""

    def __init__(self, context: Context) -> None:
        self.cams = CamShards(context.inputs["cams"])
        assert isinstance(context.params, WalkStageParams)
        self.params = context.params
        super().__init__(context, list(self.cams), context.params)
        self.shards = split_shards(self.ids)
        self.sizes = {id: list(size) for id, size in (read_json(context.work / SIZES) or {}).items()}

    @property
    def steps(self) -> int:
        return len(self.shards)

    def step(self) -> dict[str, float]:
        ids = self.shards[self.done]
        assert self.walker is not None
        arrays: dict[str, np.ndarray] = {}
        labelled = [id for id in ids if len(self.cams.keys(id))]
        with Beside(self.context.device, self.context.threads) as beside:
            for id, (photo, maps) in zip(labelled, beside.read(self._read, labelled), strict=True):
                scores, size = self.walker.on_grid(photo, maps, self.params.background_exponents)
                arrays[id] = scores.cpu().numpy()
                if size != photo.shape[:2]:
                    self.sizes[id] = list(size)
        write_shard(self.context.work, self.done, arrays)
        write_json(self.context.work / SIZES, self.sizes)
        self.done += 1
        return {"images": float(len(ids))}

    def _read(self, id: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the photo uint8[H, W, 3] and its CAMs."""
        return self.context.data.photo(id), self.cams[id][0]

    def finish(self, folder: Path) -> dict[str, Any]:
        assert self.walker is not None
        write_index(self.context.work, folder, self.shards, {id: self.cams.keys(id) for id in self.ids})
        exponents, stride = list(self.params.background_exponents), self.walker.network.stride
        write_json(folder / ABOUT, {"exponents": exponents, "stride": stride, "sizes": self.sizes})
        return {"images": len(self.ids), **self.notes}


class KeptWalks:
    """Reads what a walk has kept."""

    def __init__(self, folder: Path) -> None:
        self.shards = CamShards(folder)
        about = read_json(folder / ABOUT)
        self.exponents: list[float] = about["exponents"]
        self.stride = int(about["stride"])
        self.sizes: dict[str, list[int]] = about["sizes"]

    def scores(self, id: str, whole: tuple[int, int], rule: WalkedParams) -> npt.NDArray[np.float32]:
        """Return float32[n + 1, H, W] in [0, 1], the background first, of an image with at least one class.

        Raises `StageError` for a background that didn't walk.

        Args:
            id: of the image.
            whole: the photo's (H, W).
            rule: what is background.
        """
        maps, _ = self.shards[id]
        if rule.background_exponent is not None:
            if rule.background_exponent not in self.exponents:
                raise StageError(f"no background with the exponent {rule.background_exponent:g} has walked")
            number = self.exponents.index(rule.background_exponent)
            maps = maps[[number, *range(len(self.exponents), len(maps))]]
        height, width = self.sizes.get(id, whole)
        return settled(torch.from_numpy(maps), self.stride, (height, width), whole, rule)
