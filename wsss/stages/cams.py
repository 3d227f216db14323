"""Stage `cams`: multi-scale class activation maps of every image, for the classes its labels name."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from wsss.config.params.stages import CamsParams
from wsss.data.beside import Beside
from wsss.data.view import working_sizes
from wsss.masks.cams import (
    TOGETHER_PIXELS,
    CamSource,
    group_by_size,
    images_at_once,
    multi_scale_cams,
    scaled_size,
)
from wsss.models.computing.folding import fold_norms
from wsss.models.computing.memory import network_bytes_per_pixel
from wsss.models.networks.cam_net import SubcategoryMaps
from wsss.stages.chunks import ListedStage
from wsss.stages.contract import Context
from wsss.stages.memory_bound import MemoryBound
from wsss.stages.shards import map_shards, write_index, write_shard
from wsss.stages.training.network import load_classifier, subcategory_parents

ORDINARY_PASS = 2**20
"""Pixels at the largest scale, up to which no photo is shown smaller for the memory's sake alone."""


class Cams(ListedStage):
    """One step makes one shard. Files: shards of float16[n, H, W] in [0, 1] at the photo's size."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        assert isinstance(context.params, CamsParams)
        self.params = context.params
        self.ids = context.data.labelled_ids
        self.keys = context.data.present(self.ids)
        self.sizes = working_sizes(context.data, self.ids)
        self.chunks = map_shards({id: len(keys) for id, keys in self.keys.items()}, self.sizes)
        network = load_classifier(context.inputs["classifier"], context.device)
        self.precision = network.precision
        fold_norms(network)
        self.source: CamSource = network
        if context.params.head == "subcategories":
            self.source = SubcategoryMaps(network, subcategory_parents(context.inputs["classifier"]))
        self.per_pixel = network_bytes_per_pixel(self.source.cam, context.device)
        self.bound = MemoryBound(context.work, "CAMs", context.device)

    def step(self) -> dict[str, float]:
        ids = self.chunks[self.done]
        together: list[tuple[list[str], int | None]] = []
        for group in group_by_size([self.sizes[id] for id in ids]):
            names = [ids[index] for index in group if len(self.keys[ids[index]])]
            height, width = self.sizes[ids[group[0]]]
            size = shown_side(self.params, self.bound, names, (height, width), self.per_pixel)
            batch = images_at_once(
                height,
                width,
                scales=self.params.scales,
                flip=self.params.flip,
                size=size,
                device=self.context.device,
            )
            together += [(names[start : start + batch], size) for start in range(0, len(names), batch)]
        arrays: dict[str, np.ndarray] = {}
        with Beside(self.context.device, self.context.threads) as beside:
            photos = beside.read(self.context.data.photo, (id for part, _ in together for id in part))
            for part, size in together:
                arrays.update(zip(part, self._maps(part, list(islice(photos, len(part))), size), strict=True))
        write_shard(self.context.work, self.done, arrays)
        self.bound.save()
        self.done += 1
        return {"images": float(len(ids))}

    def _maps(self, ids: Sequence[str], photos: Sequence[np.ndarray], size: int | None) -> list[np.ndarray]:
        return multi_scale_cams(
            self.source,
            photos,
            [self.keys[id] for id in ids],
            scales=self.params.scales,
            flip=self.params.flip,
            size=size,
            device=self.context.device,
            registration=self.params.registration,
        )

    def finish(self, folder: Path) -> dict[str, Any]:
        write_index(self.context.work, folder, self.chunks, self.keys)
        maps = sum(len(keys) for keys in self.keys.values())
        return {"images": len(self.ids), "maps": maps, **self.bound.notes()}


def shown_side(
    params: CamsParams, bound: MemoryBound, ids: Sequence[str], photo: tuple[int, int], per_pixel: float
) -> int | None:
    """Return the long side at which photos of one size are shown at scale 1; None for their own.

    Args:
        params: how CAMs are made.
        bound: decides what fits into the memory.
        ids: of the images.
        photo: their (height, width).
        per_pixel: bytes that a network takes for a pixel that it is shown.
    """
    largest = max(params.scales) ** 2
    shown = scaled_size(*photo, 1.0, params.size)
    pixels = largest * shown[0] * shown[1]
    together = 1 + (params.flip and 2 * pixels <= TOGETHER_PIXELS)
    need = per_pixel * largest * together
    fitting = {bound.fit(id, shown, need, ORDINARY_PASS / largest) for id in ids}
    return max(fitting.pop()) if fitting and fitting != {shown} else params.size
