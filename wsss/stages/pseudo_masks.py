"""Stage `pseudo_masks`: one label per pixel over the classes present, from CAMs by a dense CRF or a walk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from wsss.config.params import AffinityParams, Params, PseudoMasksParams
from wsss.data.decode import photo_size
from wsss.data.view import DataView
from wsss.errors import ConfigError, Problem
from wsss.files import place, read_json, write_json
from wsss.masks.crf import (
    cam_to_sure_mask_with_crf,
    confidence,
    scores_to_mask,
    scores_to_sure_mask_with_crf,
)
from wsss.masks.images import Mask, write_mask
from wsss.stages.affinity import load_affinity
from wsss.stages.chunks import ChunkedStage
from wsss.stages.contract import Context
from wsss.stages.shards import CamShards
from wsss.stages.walker import GIB, Walker

WALK = "walk.json"
"""What is remembered of a walk that goes on later."""
CONFIDENCE = "confidence"
"""Folder of uint8 PNGs, one an image: 255 times the winner's share of all scores."""
MOST_WAITING = 2**30
"""Bytes of scores that wait for a CRF at once, or those of one photo."""
SureMask = tuple[Mask, Mask]
"""(ids, confidence), both uint8[H, W]."""


class PseudoMasks(ChunkedStage):
    """One step refines a chunk of images in a pool of the trial's CPUs. Files: <id>.png, ids 0..C, and on
    request confidence/<id>.png."""

    name: ClassVar[str] = "pseudo_masks"
    version: ClassVar[int] = 2
    needs: ClassVar[tuple[str, ...]] = ("cams",)

    def __init__(self, context: Context) -> None:
        self.cams = CamShards(context.inputs["cams"])
        super().__init__(context, list(self.cams))
        assert isinstance(context.params, PseudoMasksParams)
        self.params = context.params
        self.notes: dict[str, Any] = {}
        self.walker: Walker | None = None
        if self.params.walk is not None:
            network = load_affinity(context.inputs["affinity"])
            self.walker = Walker(network, self.params.walk, context.device)
            self._prepare(self.walker)

    @classmethod
    def needs_of(cls, params: Params) -> tuple[str, ...]:
        assert isinstance(params, PseudoMasksParams)
        return cls.needs if params.walk is None else (*cls.needs, "affinity")

    @classmethod
    def check_sources(cls, params: Params, sources: Mapping[str, Params]) -> None:
        assert isinstance(params, PseudoMasksParams)
        boundary = _is_boundary(sources.get("affinity"))
        if params.walk is not None and params.walk.pairs == "cropped" and boundary:
            message = "`cropped` belongs to `affinity: {kind: affinity}`, but this one is of kind boundary"
            raise ConfigError(Problem("walk.pairs", message, "leave it out"))

    @classmethod
    def revision(cls, params: Params, sources: Mapping[str, Params]) -> int:
        """1 where boundaries are walked: their network saw photos without the canvas that it learnt on."""
        return int(_is_boundary(sources.get("affinity")))

    @classmethod
    def consumes(cls, params: Params, data: DataView) -> Mapping[str, str]:
        return {"images": data.image_key(data.labelled_ids)}

    def step(self) -> dict[str, float]:
        ids = self.chunk()
        photos = [np.asarray(self.context.data.dataset.image(id)) for id in ids]
        cams = [self.cams[id] for id in ids]
        if self.walker is None:
            tasks = [(photo, *maps, self.params) for photo, maps in zip(photos, cams, strict=True)]
            masks = self.pool.map(cam_to_sure_mask_with_crf, tasks)
        else:
            masks = self._walked(self.walker, photos, cams)
        for id, (mask, sure) in zip(ids, masks, strict=True):
            write_mask(self.context.work / f"{id}.png", mask)
            if self.params.confidence:
                (self.context.work / CONFIDENCE).mkdir(exist_ok=True)
                write_mask(self.context.work / CONFIDENCE / f"{id}.png", sure, grey=True)
        self.done += 1
        return {"images": float(len(ids))}

    def _prepare(self, walker: Walker) -> None:
        """Fix what walks may take. Free memory decides too: what goes on later takes no more than before."""
        earlier = read_json(self.context.work / WALK) or {"bytes": None, "smaller": {}}
        smaller = walker.prepare({id: self._size(id) for id in self.ids}, earlier["bytes"])
        self.earlier = earlier["smaller"]
        self.notes["smaller"] = {id: list(size) for id, size in smaller.items()}
        if smaller and walker.budget < int(walker.params.memory * GIB):
            self.notes["free_memory_allowed_gib"] = round(walker.budget / GIB, 3)
        self._remember(walker)

    def _remember(self, walker: Walker) -> None:
        write_json(self.context.work / WALK, {"bytes": walker.budget, "smaller": self.notes["smaller"]})

    def _size(self, id: str) -> tuple[int, int]:
        width, height = photo_size(self.context.data.dataset.image_path(id))
        return height, width

    def _walked(
        self,
        walker: Walker,
        photos: Sequence[np.ndarray],
        cams: Sequence[tuple[np.ndarray, np.ndarray]],
    ) -> list[SureMask]:
        """Return the masks of photos; the walk is done here, one by one, a CRF after it in the pool."""
        crf = self.params.crf if walker.params.crf else None
        masks: list[SureMask] = []
        waiting: dict[int, tuple[Any, ...]] = {}
        size = 0
        for number, (photo, (maps, keys)) in enumerate(zip(photos, cams, strict=True)):
            masks.append((np.zeros(photo.shape[:2], np.uint8), np.full(photo.shape[:2], 255, np.uint8)))
            if not len(keys):
                continue
            scores = walker(photo, maps)
            if crf is None:
                masks[number] = scores_to_mask(scores, keys), confidence(scores)
                continue
            if size + scores.nbytes > MOST_WAITING and waiting:
                self._refine(waiting, masks)
                size = 0
            waiting[number] = (photo, scores, keys, crf)
            size += scores.nbytes
        self._refine(waiting, masks)
        return masks

    def _refine(self, waiting: dict[int, tuple[Any, ...]], masks: list[SureMask]) -> None:
        """Put the masks of those that wait for a CRF in their places; none waits any more."""
        refined = self.pool.map(scores_to_sure_mask_with_crf, [*waiting.values()]) if waiting else []
        for number, mask in zip(waiting, refined, strict=True):
            masks[number] = mask
        waiting.clear()

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
        return {"images": len(self.ids), **self.notes}


def _is_boundary(source: Params | None) -> bool:
    return isinstance(source, AffinityParams) and source.kind == "boundary"
