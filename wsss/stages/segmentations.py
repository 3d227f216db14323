"""Stage `segmentations`: what a segmentation network makes of photos whose labels it doesn't see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from wsss.config.params.stages import SegmentationsParams
from wsss.data.beside import Beside
from wsss.data.pictures.sizes import resize_mask
from wsss.data.view import photo_sizes
from wsss.files import place
from wsss.masks.crf import crf_memory, possible_labels, probabilities_to_mask_with_crf
from wsss.masks.images import Mask, write_mask
from wsss.masks.segmentation import label_batch, segment
from wsss.models.computing.folding import fold_norms
from wsss.models.computing.memory import bytes_per_pixel
from wsss.stages.chunks import ChunkedStage
from wsss.stages.contract import Context
from wsss.stages.kinds.segmentations import segmented_ids
from wsss.stages.memory_bound import MemoryBound, copies
from wsss.stages.training.segmentation_network import load_segmenter


class Segmentations(ChunkedStage):
    """One step segments a chunk of the `select` and `test` images; a CRF runs in a pool of the trial's CPUs.
    Files: <id>.png, ids 0..C."""

    def __init__(self, context: Context) -> None:
        super().__init__(context, segmented_ids(context.data))
        assert isinstance(context.params, SegmentationsParams)
        self.params = context.params
        self.network = load_segmenter(context.inputs["segmenter"], context.device)
        self.precision = self.network.precision
        fold_norms(self.network)
        self.scales = self.params.scales or self.network.scales
        self.bound = MemoryBound(context.work, "segmentations", context.device)
        self.per_pixel = bytes_per_pixel(self._scores)

    def step(self) -> dict[str, float]:
        ids = self.chunk()
        sizes = photo_sizes(self.context.data, ids)
        with Beside(self.context.device, self.context.threads) as beside:
            photos = zip(ids, beside.read(self.context.data.photo, ids), strict=True)
            for id, mask in zip(
                ids, self._masks(self._shown(id, photo) for id, photo in photos), strict=True
            ):
                beside.write(self._write, id, mask, sizes[id])
        self.bound.save()
        self.done += 1
        return {"images": float(len(ids))}

    def _write(self, id: str, mask: Mask, size: tuple[int, int]) -> None:
        write_mask(self.context.work / f"{id}.png", resize_mask(mask, size))

    def _masks(self, shown: Iterator[tuple[str, np.ndarray]]) -> Iterable[Mask]:
        """Return the masks of photos as the network is shown them, by id."""
        if self.params.crf is None:
            return (self._labels(photo) for _, photo in shown)
        return self.refine(probabilities_to_mask_with_crf, (self._task(*one) for one in shown), _need)

    def _shown(self, id: str, photo: np.ndarray) -> tuple[str, np.ndarray]:
        """Return the photo, or the smaller copy of it that the network is shown."""
        size = self.bound.fit(id, photo.shape[:2], self.per_pixel)
        return id, copies(photo, np.zeros((0, *photo.shape[:2])), size)[0]

    def _scores(self, photo: np.ndarray) -> np.ndarray:
        return segment(
            self.network, photo, scales=self.scales, flip=self.params.flip, device=self.context.device
        )

    def _labels(self, photo: np.ndarray) -> Mask:
        return label_batch(
            self.network, [photo], scales=self.scales, flip=self.params.flip, device=self.context.device
        )[0]

    def _task(self, id: str, photo: np.ndarray) -> tuple[Any, ...]:
        """Return what a CRF on probabilities is given."""
        scores = self._scores(photo)
        size = self.bound.fit(id, photo.shape[:2], crf_memory(possible_labels(scores)))
        return (*copies(photo, scores, size), self.params.crf)

    def finish(self, folder: Path) -> dict[str, Any]:
        for id in self.ids:
            place(self.context.work / f"{id}.png", folder / f"{id}.png")
        return {"images": len(self.ids), "scales": list(self.scales), **self.bound.notes()}


def _need(photo: np.ndarray, scores: np.ndarray, crf: Any) -> float:
    return float(crf_memory(possible_labels(scores)) * photo.shape[0] * photo.shape[1])
