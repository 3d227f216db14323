"""Stage `probabilities`: a segmentation network's answer among the classes of a photo's labels, as maps.

What a network that sees no labels reaches with them; the maps are scored, refined and searched as CAMs are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from wsss.config.params.pixel_head import ProbabilitiesParams
from wsss.data.beside import Beside
from wsss.data.view import working_sizes
from wsss.masks.segmentation import segment
from wsss.models.computing.folding import fold_norms
from wsss.models.computing.memory import bytes_per_pixel
from wsss.stages.chunks import ListedStage
from wsss.stages.contract import Context
from wsss.stages.memory_bound import MemoryBound, copies
from wsss.stages.shards import map_shards, write_index, write_shard
from wsss.stages.training.segmentation_network import load_segmenter


class Probabilities(ListedStage):
    """One step makes one shard. Files: shards of float16[n, H, W] in [0, 1] at the photo's working size."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        assert isinstance(context.params, ProbabilitiesParams)
        self.params = context.params
        self.ids = context.data.labelled_ids
        self.keys = context.data.present(self.ids)
        maps = {id: len(keys) for id, keys in self.keys.items()}
        self.chunks = map_shards(maps, working_sizes(context.data, self.ids))
        self.network = load_segmenter(context.inputs["segmenter"], context.device)
        self.precision = self.network.precision
        fold_norms(self.network)
        self.scales = self.params.scales or self.network.scales
        self.bound = MemoryBound(context.work, "probabilities", context.device)
        self.per_pixel = bytes_per_pixel(self._scores)

    def step(self) -> dict[str, float]:
        ids = self.chunks[self.done]
        labelled = [id for id in ids if len(self.keys[id])]
        with Beside(self.context.device, self.context.threads) as beside:
            photos = zip(labelled, beside.read(self.context.data.photo, labelled), strict=True)
            arrays = {id: self._maps(id, photo) for id, photo in photos}
        write_shard(self.context.work, self.done, arrays)
        self.bound.save()
        self.done += 1
        return {"images": float(len(ids))}

    def _maps(self, id: str, photo: npt.NDArray[np.uint8]) -> npt.NDArray[np.float16]:
        size = photo.shape[:2]
        small = copies(photo, np.zeros((0, *size)), self.bound.fit(id, size, self.per_pixel))[0]
        maps = among(self._scores(small), self.keys[id])
        if small.shape[:2] == size:
            return maps.astype(np.float16)
        grown = [Image.fromarray(one).resize(size[::-1], Image.Resampling.BILINEAR) for one in maps]
        return np.stack([np.asarray(one) for one in grown]).astype(np.float16)

    def _scores(self, photo: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return segment(
            self.network, photo, scales=self.scales, flip=self.params.flip, device=self.context.device
        )

    def finish(self, folder: Path) -> dict[str, Any]:
        write_index(self.context.work, folder, self.chunks, self.keys)
        maps = sum(len(keys) for keys in self.keys.values())
        return {
            "images": len(self.ids),
            "maps": maps,
            "scales": list(self.scales),
            **self.bound.notes(),
        }


def among(probabilities: npt.NDArray[np.float32], keys: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return float32[n, H, W], the probabilities of classes once all others are ruled out.

    Args:
        probabilities: float32[C + 1, H, W], the background first; they sum to 1.
        keys: n classes, counted from 0.
    """
    chosen = probabilities[keys + 1]
    # Where nothing is left for either, the background has it.
    result: npt.NDArray[np.float32] = chosen / np.maximum(probabilities[0] + chosen.sum(0), 1e-6)
    return result
