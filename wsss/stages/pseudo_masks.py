"""Stage `pseudo_masks`: one label per pixel over the classes present, from CAMs by a dense CRF or a walk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsss.config.params.stages import PseudoMasksParams
from wsss.data.decode import resize_mask
from wsss.files import place, read_json, write_json
from wsss.masks.crf import (
    cam_to_sure_mask_with_crf,
    confidence,
    crf_memory,
    scores_to_mask,
    scores_to_sure_mask_with_crf,
)
from wsss.masks.images import Mask, write_mask
from wsss.stages.chunks import ChunkedStage, crf_need
from wsss.stages.contract import Context
from wsss.stages.memory_bound import MemoryBound, copies, photo_sizes, working_sizes
from wsss.stages.shards import CamShards
from wsss.stages.training.affinity import load_affinity
from wsss.stages.walker import GIB, Walker

WALK = "walk.json"
"""What is remembered of a walk that goes on later."""
CONFIDENCE = "confidence"
"""Folder of uint8 PNGs, one an image: 255 times the winner's share of all scores."""
SureMask = tuple[Mask, Mask]
"""(ids, confidence), both uint8[H, W]."""


class PseudoMasks(ChunkedStage):
    """One step refines a chunk of images in a pool of the trial's CPUs. Files: <id>.png, ids 0..C, and on
    request confidence/<id>.png."""

    def __init__(self, context: Context) -> None:
        self.cams = CamShards(context.inputs["cams"])
        super().__init__(context, list(self.cams))
        assert isinstance(context.params, PseudoMasksParams)
        self.params = context.params
        self.notes: dict[str, Any] = {}
        self.bound = MemoryBound(context.work, "masks by the CRF", "cpu")
        self.walker: Walker | None = None
        if self.params.walk is not None:
            network = load_affinity(context.inputs["affinity"], context.device)
            self.precision = network.precision
            self.walker = Walker(network, self.params.walk, context.device)
            self._prepare(self.walker)

    def step(self) -> dict[str, float]:
        ids = self.chunk()
        if self.walker is None:
            masks = self.refine(cam_to_sure_mask_with_crf, (self._task(id) for id in ids), crf_need)
        else:
            masks = self._walked(self.walker, ids)
        sizes = photo_sizes(self.context.data, ids)
        for id, (mask, sure) in zip(ids, masks, strict=True):
            write_mask(self.context.work / f"{id}.png", resize_mask(mask, sizes[id]))
            if self.params.confidence:
                (self.context.work / CONFIDENCE).mkdir(exist_ok=True)
                path = self.context.work / CONFIDENCE / f"{id}.png"
                write_mask(path, resize_mask(sure, sizes[id]), grey=True)
        self.bound.save()
        self.done += 1
        return {"images": float(len(ids))}

    def _photo(self, id: str) -> np.ndarray:
        return np.asarray(self.context.data.dataset.image(id))

    def _task(self, id: str) -> tuple[Any, ...]:
        """Return what a CRF on CAMs is given."""
        photo, (maps, keys) = self._photo(id), self.cams[id]
        size = self.bound.fit(id, photo.shape[:2], crf_memory(len(keys) + 1))
        return (*copies(photo, maps, size), keys, self.params)

    def _prepare(self, walker: Walker) -> None:
        """Fix what walks may take. Free memory decides too: what goes on later takes no more than before."""
        earlier = read_json(self.context.work / WALK) or {"bytes": None, "smaller": {}}
        smaller = walker.prepare(working_sizes(self.context.data, self.ids), earlier["bytes"])
        self.earlier = earlier["smaller"]
        self.notes["smaller"] = {id: list(size) for id, size in smaller.items()}
        if smaller and walker.budget < int(walker.params.memory * GIB):
            self.notes["free_memory_allowed_gib"] = round(walker.budget / GIB, 3)
        self._remember(walker)

    def _remember(self, walker: Walker) -> None:
        write_json(self.context.work / WALK, {"bytes": walker.budget, "smaller": self.notes["smaller"]})

    def _walked(self, walker: Walker, ids: Sequence[str]) -> list[SureMask]:
        """Return the masks of photos; the walk is done here, one by one, a CRF after it in the pool."""
        masks: dict[str, SureMask] = {}
        refined: list[str] = []

        def scored() -> Iterator[tuple[Any, ...]]:
            for id in ids:
                photo, (maps, keys) = self._photo(id), self.cams[id]
                if not len(keys):
                    masks[id] = np.zeros(photo.shape[:2], np.uint8), np.full(photo.shape[:2], 255, np.uint8)
                    continue
                scores = walker(photo, maps)
                if not walker.params.crf:
                    masks[id] = scores_to_mask(scores, keys), confidence(scores)
                    continue
                refined.append(id)
                size = self.bound.fit(id, photo.shape[:2], crf_memory(len(scores)))
                yield (*copies(photo, scores, size), keys, self.params.crf)

        found = self.refine(scores_to_sure_mask_with_crf, scored(), crf_need)
        masks |= dict(zip(refined, found, strict=True))
        return [masks[id] for id in ids]

    def load(self, folder: Path, done: int) -> None:
        super().load(folder, done)
        if self.walker is not None:  # photos that are done were walked on the copies of then
            walked = set(self.ids[: done * self.images])
            now = {id: size for id, size in self.notes["smaller"].items() if id not in walked}
            before = {id: size for id, size in self.earlier.items() if id in walked}
            self.notes["smaller"] = before | now
            self._remember(self.walker)

    def finish(self, folder: Path) -> dict[str, Any]:
        for id in self.ids:
            place(self.context.work / f"{id}.png", folder / f"{id}.png")
            if self.params.confidence:
                (folder / CONFIDENCE).mkdir(exist_ok=True)
                place(self.context.work / CONFIDENCE / f"{id}.png", folder / CONFIDENCE / f"{id}.png")
        by_crf = self.bound.notes()
        return {"images": len(self.ids), **self.notes, **({"crf": by_crf} if by_crf else {})}
