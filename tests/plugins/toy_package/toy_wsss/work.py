"""The work of the stage `toy_masks`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from wsss.files import place
from wsss.masks.images import write_mask
from wsss.masks.seeds import threshold_mask
from wsss.stages.contract import Context, Stage
from wsss.stages.shards import CamShards


class ToyMasksWork(Stage):
    """One step is one round; files: <id>.png."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.params: Any = context.params
        self.cams = CamShards(context.inputs["cams"])
        self.done = 0

    @property
    def steps(self) -> int:
        return self.params.rounds

    def step(self) -> dict[str, float]:
        for id in self.context.data.labelled_ids:
            cams, keys = self.cams[id]
            width, height = self.context.data.dataset.image(id).size
            mask = np.zeros((height, width), np.uint8)
            if len(keys):
                mask = threshold_mask(cams, keys, self.params.threshold)
            write_mask(self.context.work / f"{id}.png", mask)
        self.done += 1
        return {"loss": float(len(self.context.data.labelled_ids)), "flat_masks": 0.0}

    def load(self, folder: Path, done: int) -> None:
        self.done = done

    def finish(self, folder: Path) -> dict[str, Any]:
        for path in self.context.work.glob("*.png"):
            place(path, folder / path.name)
        return {}
