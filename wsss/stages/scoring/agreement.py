"""Stage `agreement`: the mIoU between CAMs and pseudo masks on training images. No true mask is looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wsss.data.pictures.sizes import shrink_mask
from wsss.files import write_json
from wsss.masks.images import read_mask
from wsss.metrics import THRESHOLDS, ThresholdCurve
from wsss.stages.chunks import ListedStage
from wsss.stages.contract import Context
from wsss.stages.shards import CamShards, split_shards


class Agreement(ListedStage):
    """One step counts a chunk of images. Files: agreement.json with the mIoU at every threshold.

    The score is the largest of them; its threshold stands beside it, and is chosen without masks, too.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.cams = CamShards(context.inputs["cams"])
        self.masks = context.inputs["pseudo_masks"]
        self.chunks = split_shards(context.data.train)
        self.curve = ThresholdCurve(len(context.data.dataset.classes))

    def step(self) -> dict[str, float]:
        ids = self.chunks[self.done]
        for id in ids:
            mask = shrink_mask(read_mask(self.masks / f"{id}.png"))
            self.curve.add(mask, *self.cams[id])
        self.done += 1
        return {"images": float(len(ids))}

    def load(self, folder: Path, done: int) -> None:
        for _ in range(done):  # counting again is faster than keeping the counts
            self.step()

    def finish(self, folder: Path) -> dict[str, Any]:
        _, threshold, best = self.curve.best()
        curve = [round(float(value), 6) for value in self.curve.miou()]
        found = {"miou": best, "threshold": threshold}
        write_json(folder / "agreement.json", {**found, "thresholds": list(THRESHOLDS), "curve": curve})
        return found
