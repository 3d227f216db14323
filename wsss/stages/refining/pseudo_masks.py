"""Stage `pseudo_masks`: one label per pixel over the classes present, from CAMs by a dense CRF or a walk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsss.config.params.stages import PseudoMasksParams, WalkedParams
from wsss.data.beside import Beside
from wsss.data.pictures.sizes import resize_mask
from wsss.data.view import photo_sizes
from wsss.files import place
from wsss.masks.crf import (
    cam_to_sure_mask_with_crf,
    confidence,
    crf_memory,
    scores_to_mask,
    scores_to_sure_mask_with_crf,
)
from wsss.masks.images import Mask, write_mask
from wsss.stages.chunks import crf_need
from wsss.stages.contract import Context
from wsss.stages.kinds.refining.pseudo_masks import CONFIDENCE
from wsss.stages.memory_bound import MemoryBound, copies
from wsss.stages.refining.walk import KeptWalks
from wsss.stages.refining.walker import Walker
from wsss.stages.refining.walking import WalkingStage
from wsss.stages.shards import CamShards

SureMask = tuple[Mask, Mask]
"""(ids, confidence), both uint8[H, W]."""


class PseudoMasks(WalkingStage):
    """One step refines a chunk of images in a pool of the trial's CPUs. Files: <id>.png, ids 0..C, and on
    request confidence/<id>.png."""

    def __init__(self, context: Context) -> None:
        assert isinstance(context.params, PseudoMasksParams)
        self.params = context.params
        self.kept = None if self.params.walked is None else KeptWalks(context.inputs["walk"])
        self.cams = CamShards(context.inputs["cams"]) if self.kept is None else self.kept.shards
        super().__init__(context, list(self.cams), self.params.walk)
        self.bound = MemoryBound(context.work, "masks by the CRF", "cpu")
        self.beside = Beside("cpu", 1)

    def step(self) -> dict[str, float]:
        ids = self.chunk()
        with Beside(self.context.device, self.context.threads) as self.beside:
            self._make(ids)
        self.bound.save()
        self.done += 1
        return {"images": float(len(ids))}

    def _make(self, ids: Sequence[str]) -> None:
        if self.kept is not None and self.params.walked is not None:
            masks = self._settled(self.kept, self.params.walked, ids)
        elif self.walker is None:
            masks = self.refine(cam_to_sure_mask_with_crf, (self._task(id) for id in ids), crf_need)
        else:
            masks = self._walked(self.walker, ids)
        sizes = photo_sizes(self.context.data, ids)
        for id, (mask, sure) in zip(ids, masks, strict=True):
            self.beside.write(self._write, id, mask, sure, sizes[id])

    def _write(self, id: str, mask: Mask, sure: Mask, size: tuple[int, int]) -> None:
        write_mask(self.context.work / f"{id}.png", resize_mask(mask, size))
        if self.params.confidence:
            (self.context.work / CONFIDENCE).mkdir(exist_ok=True)
            path = self.context.work / CONFIDENCE / f"{id}.png"
            write_mask(path, resize_mask(sure, size), grey=True)

    def _task(self, id: str) -> tuple[Any, ...]:
        """Return what a CRF on CAMs is given."""
        photo, (maps, keys) = self.context.data.photo(id), self.cams[id]
        size = self.bound.fit(id, photo.shape[:2], crf_memory(len(keys) + 1))
        return (*copies(photo, maps, size), keys, self.params)

    def _walked(self, walker: Walker, ids: Sequence[str]) -> list[SureMask]:
        """Return the masks of photos that are walked here, one by one."""
        assert self.params.walk is not None
        return self._chosen(ids, lambda id, photo: walker(photo, self.cams[id][0]), crf=self.params.walk.crf)

    def _settled(self, kept: KeptWalks, rule: WalkedParams, ids: Sequence[str]) -> list[SureMask]:
        """Return the masks of photos that were walked before."""
        return self._chosen(ids, lambda id, photo: kept.scores(id, photo.shape[:2], rule), crf=rule.crf)

    def _chosen(
        self, ids: Sequence[str], scores_of: Callable[[str, np.ndarray], np.ndarray], *, crf: bool
    ) -> list[SureMask]:
        """Return the masks of photos by their scores; a CRF after them runs in the pool."""
        masks: dict[str, SureMask] = {}
        refined: list[str] = []

        def scored() -> Iterator[tuple[Any, ...]]:
            for id, photo in zip(ids, self.beside.read(self.context.data.photo, ids), strict=True):
                keys = self.cams.keys(id)
                if not len(keys):
                    masks[id] = np.zeros(photo.shape[:2], np.uint8), np.full(photo.shape[:2], 255, np.uint8)
                    continue
                scores = scores_of(id, photo)
                if not crf:
                    masks[id] = scores_to_mask(scores, keys), confidence(scores)
                    continue
                refined.append(id)
                size = self.bound.fit(id, photo.shape[:2], crf_memory(len(scores)))
                yield (*copies(photo, scores, size), keys, self.params.crf)

        found = self.refine(scores_to_sure_mask_with_crf, scored(), crf_need)
        masks |= dict(zip(refined, found, strict=True))
        return [masks[id] for id in ids]

    def finish(self, folder: Path) -> dict[str, Any]:
        for id in self.ids:
            place(self.context.work / f"{id}.png", folder / f"{id}.png")
            if self.params.confidence:
                (folder / CONFIDENCE).mkdir(exist_ok=True)
                place(self.context.work / CONFIDENCE / f"{id}.png", folder / CONFIDENCE / f"{id}.png")
        by_crf = self.bound.notes()
        return {"images": len(self.ids), **self.notes, **({"crf": by_crf} if by_crf else {})}
