"""Stage `pictures`: what maps and masks of a few photos look like, where there is no true mask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from wsss.data.pictures.sizes import shrink_mask
from wsss.labels import IGNORED
from wsss.masks.images import Mask, read_mask
from wsss.masks.seeds import threshold_mask
from wsss.stages.contract import Context, Stage
from wsss.stages.kinds.scoring.pictures import OVERLAYS, PicturesParams, shown_ids
from wsss.stages.scoring.pictures import draw_samples
from wsss.stages.shards import CamShards

THRESHOLD = 0.3
"""At which maps are cut for the picture; without masks, nothing chooses one."""


class Pictures(Stage):
    """One step draws all. Files: overlays.png."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        assert isinstance(context.params, PicturesParams)
        self.source = context.inputs[context.params.kind]
        self.cams = CamShards(self.source) if context.params.how.files == "maps" else None
        self.ids = [id for id in shown_ids(context.data) if self._has(id)]

    def _has(self, id: str) -> bool:
        return id in self.cams.index if self.cams is not None else (self.source / f"{id}.png").is_file()

    @property
    def steps(self) -> int:
        return 1

    def step(self) -> dict[str, float]:
        return {"images": float(len(self.ids))}

    def load(self, folder: Path, done: int) -> None:
        """Nothing is kept between steps."""

    def finish(self, folder: Path) -> dict[str, Any]:
        rows = []
        for id in self.ids:
            photo = self.context.data.photo(id)
            maps = None if self.cams is None else self.cams[id][0]
            rows.append((id, photo, maps, self._mask(id, photo.shape[:2]), None))
        draw_samples(folder / OVERLAYS, rows)
        return {"images": len(self.ids)}

    def _mask(self, id: str, size: tuple[int, ...]) -> Mask:
        if self.cams is None:
            mask = shrink_mask(read_mask(self.source / f"{id}.png"))
            return np.where(mask == IGNORED, np.uint8(0), mask)
        maps, keys = self.cams[id]
        return threshold_mask(maps, keys, THRESHOLD) if len(keys) else np.zeros(size, np.uint8)
