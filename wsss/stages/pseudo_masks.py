"""Stage `pseudo_masks`: one label per pixel, from CAMs and a dense CRF over the classes present."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from wsss.config.params import Params, PseudoMasksParams
from wsss.data.view import DataView
from wsss.files import place
from wsss.masks.crf import cam_to_mask_with_crf
from wsss.masks.images import write_mask
from wsss.stages.contract import Context, Stage
from wsss.stages.pool import ImagePool
from wsss.stages.shards import CamShards, split_shards

CHUNK_PER_WORKER = 16


class PseudoMasks(Stage):
    """One step refines a chunk of images in a pool of the trial's CPUs. Files: <id>.png, ids 0..C."""

    name: ClassVar[str] = "pseudo_masks"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("cams",)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        assert isinstance(context.params, PseudoMasksParams)
        self.params = context.params
        self.cams = CamShards(context.inputs["cams"])
        self.ids = list(self.cams)
        self.chunks = split_shards(self.ids, CHUNK_PER_WORKER * context.threads)
        self.done = 0
        self.pool = ImagePool(context.threads)

    @classmethod
    def consumes(cls, params: Params, data: DataView) -> Mapping[str, str]:
        return {"images": data.image_key(data.labelled_ids)}

    @property
    def steps(self) -> int:
        return len(self.chunks)

    def step(self) -> dict[str, float]:
        ids = self.chunks[self.done]
        tasks = [(np.asarray(self.context.data.dataset.image(id)), *self.cams[id], self.params) for id in ids]
        for id, mask in zip(ids, self.pool.map(cam_to_mask_with_crf, tasks), strict=True):
            write_mask(self.context.work / f"{id}.png", mask)
        self.done += 1
        return {"images": float(len(ids))}

    def load(self, folder: Path, done: int) -> None:
        self.done = done

    def finish(self, folder: Path) -> dict[str, Any]:
        self.pool.close()
        for id in self.ids:
            place(self.context.work / f"{id}.png", folder / f"{id}.png")
        return {"images": len(self.ids)}
