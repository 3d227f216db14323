"""Stage `features`: a classifier's pooled features of every training image, for clustering."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wsss.config.params.stages import FeaturesParams
from wsss.data.augment import resized
from wsss.data.loader import evaluation_image
from wsss.files import write_atomic
from wsss.models.folding import fold_norms
from wsss.models.memory import network_bytes_per_pixel
from wsss.models.precision import applied, sent
from wsss.stages.chunks import ListedStage
from wsss.stages.contract import Context
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

    def step(self) -> dict[str, float]:
        ids = self.chunks[self.done]
        with torch.inference_mode():
            rows = [self._embedding(id) for id in ids]
        content = io.BytesIO()
        np.save(content, np.stack(rows), allow_pickle=False)
        write_atomic(self.context.work / f"{self.done:05d}.npy", content.getvalue())
        self.bound.save()
        self.done += 1
        return {"images": float(len(ids))}

    def _embedding(self, id: str) -> np.ndarray:
        photo = self.context.data.dataset.image(id)
        width, height = resized(*photo.size, self.size) if self.size else photo.size
        size = max(self.bound.fit(id, (height, width), self.per_pixel))
        x = torch.as_tensor(evaluation_image(photo, size, self.network.mean, self.network.std))
        batch = sent(x[None], self.context.device)
        if batch.is_cuda:  # on a CPU another layout gives other bits
            batch = batch.contiguous(memory_format=torch.channels_last)
        with applied(self.network, self.context.device):
            array: np.ndarray = self._network(batch)[0].float().cpu().numpy()
        return array

    def _network(self, batch: torch.Tensor) -> torch.Tensor:
        backbone = self.network.backbone
        return backbone.class_token(batch) if self.as_token else backbone(batch).mean((2, 3))

    def finish(self, folder: Path) -> dict[str, Any]:
        parts = [
            np.load(self.context.work / f"{n:05d}.npy", allow_pickle=False) for n in range(len(self.chunks))
        ]
        features = np.concatenate(parts)
        ids = np.asarray([id for chunk in self.chunks for id in chunk])
        np.savez(folder / "features.npz", allow_pickle=False, ids=ids, features=features)
        return {"images": len(ids), "channels": int(features.shape[1]), **self.bound.notes()}
