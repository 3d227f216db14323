"""Training batches of a segmentation network: crops of photos with one label per pixel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from wsss.data.batches.augment import Augmentation, Place, random_state, window
from wsss.data.batches.loader import BatchSource, ClassificationBatches, Key, Made
from wsss.data.photo_set import Dataset, Mask

ReadMask = Callable[[str], Mask]


@dataclass(frozen=True)
class ResizedCrop(Augmentation):
    """One of `resize` times the photo's own size, mirrored half the time, a random crop of `crop` by `crop`
    pixels (Chen et al., PAMI 2018). A smaller photo lies in the upper left corner of the mean colour."""

    resize: tuple[float, ...] = (1.0,)

    def _place(self, size: tuple[int, int], random: np.random.Generator) -> Place:
        factor = self.resize[int(random.integers(len(self.resize)))]
        width, height = (max(1, round(factor * length)) for length in size)
        mirrored = random.random() < 0.5
        left, _, columns = window(width, self.crop, random)
        top, _, rows = window(height, self.crop, random)
        across, down = size[0] / width, size[1] / height
        right, bottom = min((left + columns) * across, size[0]), min((top + rows) * down, size[1])
        return Place((left * across, top * down, right, bottom), columns, rows, 0, 0, mirrored)


class SegmentationBatches(ClassificationBatches):
    """Batches (images float32[B, 3, S, S], labels uint8[B, S, S], ids) with the promises of
    `ClassificationBatches`.

    Args:
        dataset: photos by id.
        ids: of the images to train on.
        augmentation: how a crop of S × S pixels is cut and coloured.
        read: gives an id's labels uint8[H, W] at the photo's size, 255 where unknown; background processes
            get a copy of it.
        batch: images a batch.
        seed: of order and augmentation.
        workers: processes that decode in the background.
        share: (rank, workers): every batch is cut into as many parts as there are workers that train, and
            this object makes one of them; some are empty when there are fewer images than workers.
        device: where images are wanted; labels stay on the CPU.
    """

    def __init__(
        self,
        dataset: Dataset,
        ids: Sequence[str],
        augmentation: ResizedCrop,
        read: ReadMask,
        *,
        batch: int,
        seed: int,
        workers: int = 0,
        share: tuple[int, int] = (0, 1),
        device: torch.device | str = "cpu",
    ) -> None:
        nothing = np.zeros((len(ids), 0), np.float32)
        super().__init__(
            dataset, ids, augmentation, nothing, batch=batch, seed=seed, workers=workers, device=device
        )
        self._source = _Masked(dataset, self.ids, nothing, augmentation, seed, read=read, raw=self._on_gpu)
        self.share = share

    def order(self, epoch: int) -> list[tuple[int, ...]]:
        rank, workers = self.share
        return [positions[rank::workers] for positions in super().order(epoch)]


@dataclass(eq=False, kw_only=True)
class _Masked(BatchSource):
    """Makes batches whose labels are those of the pixels."""

    read: ReadMask

    def make(self, key: Key) -> Made:
        images, _, ids = super().make(key)
        size = self.augmentation.crop
        masks = np.empty((len(ids), size, size), np.uint8)
        for target, id in zip(masks, ids, strict=True):
            target[:] = self.augmentation.mask(self.read(id), random_state(self.seed, key[0], id))
        return images, torch.from_numpy(masks), ids
