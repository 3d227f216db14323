"""Stage `segmentations`: what a segmentation network makes of photos whose labels it isn't told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from wsss.config.params import Params, SegmentationsParams
from wsss.data.view import DataView
from wsss.errors import ConfigError, Problem
from wsss.files import place
from wsss.masks.crf import probabilities_to_mask_with_crf
from wsss.masks.images import Mask, write_mask
from wsss.masks.segmentation import segment
from wsss.stages.chunks import ChunkedStage
from wsss.stages.contract import Context
from wsss.stages.segmentation_network import load_segmenter


class Segmentations(ChunkedStage):
    """One step segments a chunk of the `select` and `test` images; a CRF runs in a pool of the trial's CPUs.
    Files: <id>.png, ids 0..C."""

    name: ClassVar[str] = "segmentations"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("segmenter",)

    def __init__(self, context: Context) -> None:
        super().__init__(context, segmented_ids(context.data))
        assert isinstance(context.params, SegmentationsParams)
        self.params = context.params
        self.network = load_segmenter(context.inputs["segmenter"]).to(context.device)
        self.scales = self.params.scales or self.network.scales

    @classmethod
    def consumes(cls, params: Params, data: DataView) -> Mapping[str, str]:
        return {"images": data.photo_key(segmented_ids(data))}

    def step(self) -> dict[str, float]:
        ids = self.chunk()
        photos = [np.asarray(self.context.data.dataset.image(id)) for id in ids]
        for id, mask in zip(ids, self._masks(photos), strict=True):
            write_mask(self.context.work / f"{id}.png", mask)
        self.done += 1
        return {"images": float(len(ids))}

    def _masks(self, photos: list[np.ndarray]) -> list[Mask]:
        flip, crf = self.params.flip, self.params.crf
        found = (
            segment(self.network, photo, scales=self.scales, flip=flip, device=self.context.device)
            for photo in photos
        )
        if crf is None:
            return [scores.argmax(0).astype(np.uint8) for scores in found]
        tasks = [(photo, scores, crf) for photo, scores in zip(photos, found, strict=True)]
        return self.pool.map(probabilities_to_mask_with_crf, tasks)

    def finish(self, folder: Path) -> dict[str, Any]:
        for id in self.ids:
            place(self.context.work / f"{id}.png", folder / f"{id}.png")
        return {"images": len(self.ids), "scales": list(self.scales)}


def segmented_ids(data: DataView) -> list[str]:
    """Return the ids of all images that are segmented, sorted. Raises `ConfigError` without `data.test`."""
    if not data.test:
        message = "`segmentations` are scored on `data.test`, which is missing"
        raise ConfigError(Problem("segmentations", message, "such as `test: {split: val}`"))
    return sorted({*data.select, *data.test})
