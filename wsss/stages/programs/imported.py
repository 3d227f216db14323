"""Stage `import`: what another program made, so that it can be refined and compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsss.config.params.stages import ImportParams
from wsss.data.pictures.sizes import working_size
from wsss.data.view import photo_sizes, working_sizes
from wsss.errors import DataError, Problem
from wsss.files import place
from wsss.masks.foreign import foreign_files, read_cams, read_foreign_mask, read_segmentation
from wsss.masks.foreign.files import MOST_PROBLEMS
from wsss.masks.images import write_mask
from wsss.stages.chunks import ListedStage
from wsss.stages.contract import Context
from wsss.stages.kinds.programs.imported import imported_ids, source
from wsss.stages.shards import map_shards, write_index, write_shard


class Import(ListedStage):
    """One step reads a chunk of files. Files: those of `cams`, `pseudo_masks` or `segmentations`."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        assert isinstance(context.params, ImportParams)
        self.kind, folder = source(context.params)
        self.params = context.params
        self.ids = list(imported_ids(self.kind, context.data))
        self.sources = foreign_files(folder, self.ids, self.kind)
        self.keys = {id: np.zeros(0, np.int64) for id in self.ids}
        if self.kind != "segmentations":  # nobody knows the labels of photos that were segmented
            self.keys = context.data.present(self.ids)
        maps = {id: len(keys) for id, keys in self.keys.items()}
        self.chunks = map_shards(maps, working_sizes(context.data, self.ids))

    def step(self) -> dict[str, float]:
        ids = self.chunks[self.done]
        arrays: dict[str, np.ndarray] = {}
        refused = self._read(ids, arrays)
        for later in self.chunks[self.done + 1 :] if refused else ():  # all bad files are said at once
            if len(refused) < MOST_PROBLEMS:
                refused += self._read(later, {})
        if refused:
            raise DataError(refused[:MOST_PROBLEMS])
        if self.kind == "cams":
            write_shard(self.context.work, self.done, arrays)
        self.done += 1
        return {"images": float(len(ids))}

    def _read(self, ids: Sequence[str], arrays: dict[str, np.ndarray]) -> list[Problem]:
        """Read the files of some images; return what is wrong with them."""
        refused: list[Problem] = []
        for id, (width, height) in photo_sizes(self.context.data, ids).items():
            try:
                self._read_one(id, (height, width), arrays)
            except DataError as error:
                refused += error.problems
        return refused

    def _read_one(self, id: str, size: tuple[int, int], arrays: dict[str, np.ndarray]) -> None:
        dataset = self.context.data.dataset
        path, count = self.sources[id], len(dataset.classes)
        if self.kind == "masks":
            mask = read_foreign_mask(path, count, size, missing=self.params.missing)
            write_mask(self.context.work / f"{id}.png", mask)
        elif self.kind == "segmentations":
            mask = read_segmentation(path, count, size, self.params.maps)
            write_mask(self.context.work / f"{id}.png", mask)
        elif len(self.keys[id]):
            shown = working_size(size[1], size[0])[::-1]
            arrays[id], _ = read_cams(
                path,
                dataset.classes,
                size,
                self.keys[id],
                shown,
                missing=self.params.missing,
                maps=self.params.maps,
                keys=self.params.keys,
            )

    def finish(self, folder: Path) -> dict[str, Any]:
        if self.kind == "cams":
            write_index(self.context.work, folder, self.chunks, self.keys)
        else:
            for id in self.ids:
                place(self.context.work / f"{id}.png", folder / f"{id}.png")
        return {"images": len(self.ids)}
