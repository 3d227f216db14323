"""Stage `pictures`: what maps and masks of a few photos look like, where there is no true mask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wsss.stages.contract import Context, Stage
from wsss.stages.kinds.scoring.pictures import OVERLAYS, PicturesParams, shown_ids
from wsss.stages.scoring.masks import ArtefactMasks
from wsss.stages.scoring.pictures import draw_samples

THRESHOLD = 0.3
"""At which maps are cut for the picture; without masks, nothing chooses one."""


class Pictures(Stage):
    """One step draws all. Files: overlays.png."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        assert isinstance(context.params, PicturesParams)
        self.masks = ArtefactMasks(context.inputs[context.params.kind], context.params.how)
        self.ids = [id for id in shown_ids(context.data) if id in self.masks]

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
            mask = self.masks.mask(id, photo.shape[:2], THRESHOLD)
            rows.append((id, photo, self.masks.maps(id), mask, None))
        draw_samples(folder / OVERLAYS, rows)
        return {"images": len(self.ids)}
