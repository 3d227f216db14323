"""Stage `features`: a classifier's pooled features of every training image, for clustering."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wsss.config.params.stages import FeaturesParams
from wsss.data.batches.augment import resized
from wsss.data.batches.loader import evaluation_image
from wsss.data.beside import Beside
from wsss.data.view import working_sizes
from wsss.files import write_atomic
from wsss.masks.cams import BATCH_PIXELS, group_by_size
from wsss.models.computing.folding import fold_norms
from wsss.models.computing.memory import network_bytes_per_pixel
from wsss.models.computing.precision import applied, sent
from wsss.stages.chunks import ListedStage
from wsss.stages.contract import Context
from wsss.stages.kinds.features import FEATURES_FILE
from wsss.stages.memory_bound import MemoryBound
from wsss.stages.shards import split_shards
from wsss.stages.training.network import load_classifier


class Features(ListedStage):
    """One step looks at a chunk of images. Files: features.npz with ids str[N], features float32[N, D].

    Each image is shown once, whole, without mirroring, as by Chang et al. (CVPR 2020).
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        assert isinstance(context.params, FeaturesParams)
        self.size = context.params.size
        self.as_token = context.params.embedding == "class_token"
        self.chunks = split_shards(context.data.train)
        self.network = load_classifier(context.inputs["classifier"], context.device)
        self.precision = self.network.precision
        fold_norms(self.network)
        self.per_pixel = network_bytes_per_pixel(self._network, context.device)
        self.bound = MemoryBound(context.work, "features", context.device)
        self.shown: dict[str, int] = {}
        """The long side at which each photo of a chunk is shown."""

    def step(self) -> dict[str, float]:
        ids = self.chunks[self.done]
        sizes = working_sizes(self.context.data, ids)
        self.shown = {id: self._long_side(id, *sizes[id]) for id in ids}
        with Beside(self.context.device, self.context.threads) as beside, torch.inference_mode():
            rows = self._embeddings(self._together({id: sizes[id] for id in ids}), beside)
        content = io.BytesIO()
        np.save(content, np.stack([rows[id] for id in ids]), allow_pickle=False)
        write_atomic(self.context.work / f"{self.done:05d}.npy", content.getvalue())
        self.bound.save()
        self.done += 1
        return {"images": float(len(ids))}

    def _long_side(self, id: str, height: int, width: int) -> int:
        """Return the long side at which a photo is shown."""
        if self.size:
            width, height = resized(width, height, self.size)
        return max(self.bound.fit(id, (height, width), self.per_pixel))

    def _together(self, sizes: Mapping[str, tuple[int, int]]) -> list[list[str]]:
        """Return the photos that are shown at once: on a GPU those that are equally large then, as many as it
        has memory for."""
        ids = list(sizes)
        if torch.device(self.context.device).type != "cuda":
            return [[id] for id in ids]  # batches beyond a CPU's caches take longer, and give other bits
        together = []
        shown = [resized(*sizes[id][::-1], self.shown[id]) for id in ids]
        for group in group_by_size(shown):
            pixels = math.prod(shown[group[0]])
            most = max(1, min(BATCH_PIXELS["cuda"], int(self.bound.budget / self.per_pixel)) // pixels)
            names = [ids[index] for index in group]
            together += [names[start : start + most] for start in range(0, len(names), most)]
        return together

    def _embeddings(self, together: Sequence[Sequence[str]], beside: Beside) -> dict[str, np.ndarray]:
        """Return float32[D] of each photo, by id."""
        inputs = beside.read(self._input, (id for ids in together for id in ids))
        rows: dict[str, np.ndarray] = {}
        for ids in together:
            x = torch.stack([torch.as_tensor(one) for one in islice(inputs, len(ids))])
            batch = sent(x, self.context.device)
            if batch.is_cuda:  # on a CPU another layout gives other bits
                batch = batch.contiguous(memory_format=torch.channels_last)
            with applied(self.network, self.context.device):
                rows |= zip(ids, self._network(batch).float().cpu().numpy(), strict=True)
        return rows

    def _input(self, id: str) -> np.ndarray:
        photo = self.context.data.dataset.image(id)
        return evaluation_image(photo, self.shown[id], self.network.mean, self.network.std)

    def _network(self, batch: torch.Tensor) -> torch.Tensor:
        backbone = self.network.backbone
        return backbone.class_token(batch) if self.as_token else backbone(batch).mean((2, 3))

    def finish(self, folder: Path) -> dict[str, Any]:
        parts = [
            np.load(self.context.work / f"{n:05d}.npy", allow_pickle=False) for n in range(len(self.chunks))
        ]
        features = np.concatenate(parts)
        ids = np.asarray([id for chunk in self.chunks for id in chunk])
        np.savez(folder / FEATURES_FILE, allow_pickle=False, ids=ids, features=features)
        return {"images": len(ids), "channels": int(features.shape[1]), **self.bound.notes()}
