"""Stage `affinity_labels`: which pixels of the training images can be trusted, from their CAMs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from wsss.config.params.stages import AffinityLabelsParams
from wsss.data.pictures.sizes import resize_mask
from wsss.data.view import working_sizes
from wsss.files import place
from wsss.labels import IGNORED
from wsss.masks.affinity_labels import affinity_labels
from wsss.masks.crf import crf_memory
from wsss.masks.images import read_mask, write_mask
from wsss.stages.chunks import ChunkedStage, crf_need
from wsss.stages.contract import Context
from wsss.stages.memory_bound import MemoryBound, copies
from wsss.stages.shards import CamShards


class AffinityLabels(ChunkedStage):
    """One step labels a chunk of images in a pool of the trial's CPUs. Files: <id>.png, ids 0..C or 255."""

    def __init__(self, context: Context) -> None:
        super().__init__(context, context.data.train)
        assert isinstance(context.params, AffinityLabelsParams)
        self.params = context.params
        self.cams = CamShards(context.inputs["cams"])
        self.bound = MemoryBound(context.work, "affinity labels", "cpu")

    def step(self) -> dict[str, float]:
        ids = self.chunk()
        sizes = working_sizes(self.context.data, ids)
        found = self.refine(affinity_labels, (self._task(id) for id in ids), crf_need)
        ignored = []
        for id, labels in zip(ids, found, strict=True):
            write_mask(self.context.work / f"{id}.png", resize_mask(labels, sizes[id][::-1]))
            ignored.append(float((labels == IGNORED).mean()))
        self.bound.save()
        self.done += 1
        return {"images": float(len(ids)), "ignored": float(np.mean(ignored))}

    def _task(self, id: str) -> tuple[Any, ...]:
        photo, (cams, keys) = self.context.data.photo(id), self.cams[id]
        size = self.bound.fit(id, photo.shape[:2], crf_memory(len(keys) + 1))
        return (*copies(photo, cams, size), keys, self.params)

    def finish(self, folder: Path) -> dict[str, Any]:
        counts = np.zeros(256, np.int64)
        for id in self.ids:
            place(self.context.work / f"{id}.png", folder / f"{id}.png")
            counts += np.bincount(read_mask(folder / f"{id}.png").ravel(), minlength=256)
        shares = counts / counts.sum()
        background, ignored = float(shares[0]), float(shares[IGNORED])
        return {
            "images": len(self.ids),
            "background": round(background, 4),
            "classes": round(1 - background - ignored, 4),
            "ignored": round(ignored, 4),
            **self.bound.notes(),
        }
