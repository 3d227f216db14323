"""Training batches whose content depends on seed, epoch and ids, and on nothing else."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from wsss.data.batches.augment import Augmentation, Pixels, evaluation_image, random_state
from wsss.data.batches.transfer import Crops, ahead, finished
from wsss.data.photo_set import Dataset, Mask
from wsss.errors import DataError, StageError, first_line
from wsss.processes import FromServer

__all__ = ["Batch", "ClassificationBatches", "evaluation_image"]

Made = tuple[Crops | Pixels, Tensor, tuple[str, ...]]
"""A batch before it reaches its device: crops as bytes, or finished images float32[B, 3, S, S]."""
Batch = tuple[Tensor, Tensor, tuple[str, ...]]
"""(images float32[B, 3, S, S], labels float32[B, C], ids)."""
Key = tuple[int, tuple[int, ...]]
"""(epoch, positions of the batch's images)."""


class ClassificationBatches:
    """Batches of augmented crops with their image-level labels.

    Order and augmentation are functions of (seed, epoch, id), so that any number of `workers` gives the
    same batches bit for bit, and so does any order of `ids`. The last images of an epoch that fill no batch
    are left out; when there are fewer images than `batch`, they make one batch. Raises `DataError` without
    images.

    Args:
        dataset: photos by id.
        ids: of the images to train on.
        augmentation: how a crop of S × S pixels is cut and coloured.
        labels: [N, C] in the order of `ids`; the data set's own when None.
        batch: images a batch.
        seed: of order and augmentation.
        workers: processes that decode in the background, from the first epoch until `close`; with 0 this
            process decodes each batch when it is needed.
        device: where images are wanted. For a GPU they travel as bytes, and it computes what is left to do;
            the labels stay on the CPU.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from wsss.data.sample.data_set import write_sample
        >>> from wsss.data.readers.voc import VocDataset
        >>> root = Path(tempfile.mkdtemp()) / "sample"
        >>> write_sample(root, train=5, val=1, size=32)
        >>> dataset = VocDataset(root)
        >>> crops = Augmentation(24, (24, 32), True, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
        >>> batches = ClassificationBatches(dataset, dataset.split("train"), crops, batch=2, seed=0)
        >>> [(tuple(images.shape), tuple(labels.shape)) for images, labels, ids in batches.epoch(0)]
        [((2, 3, 24, 24), (2, 5)), ((2, 3, 24, 24), (2, 5))]
    """

    def __init__(
        self,
        dataset: Dataset,
        ids: Sequence[str],
        augmentation: Augmentation,
        labels: npt.ArrayLike | None = None,
        *,
        batch: int,
        seed: int,
        workers: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        if not ids:
            raise DataError("there are no images to train on")
        targets = np.asarray(dataset.labels(ids) if labels is None else labels, dtype=np.float32)
        if len(targets) != len(ids):
            raise ValueError(f"`labels` has {len(targets)} rows, but must have {len(ids)}, one an image")
        order = sorted(range(len(ids)), key=lambda position: ids[position])
        self.ids = tuple(ids[position] for position in order)
        self.batch = min(batch, len(ids))
        self.seed = seed
        self.workers = max(0, workers)
        self.device = torch.device(device)
        self._source = BatchSource(dataset, self.ids, targets[order], augmentation, seed, raw=self._on_gpu)
        self._sampler = _Sampler()
        self._loader: DataLoader[Any] | None = None

    def __len__(self) -> int:
        """Number of batches of an epoch."""
        return len(self.ids) // self.batch

    def order(self, epoch: int) -> list[tuple[int, ...]]:
        """Return the positions (in the sorted ids) of each batch of an epoch."""
        shuffled = random_state("order", self.seed, epoch).permutation(len(self.ids)).tolist()
        return [tuple(shuffled[k * self.batch : (k + 1) * self.batch]) for k in range(len(self))]

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of an epoch. Raises `DataError` when a photo can't be decoded."""
        keys: list[Key] = [(epoch, positions) for positions in self.order(epoch)]
        batches = map(self._finished, self._made(keys))
        yield from ahead(batches, self.device) if self._on_gpu else batches

    @property
    def _on_gpu(self) -> bool:
        return self.device.type == "cuda"

    def _finished(self, made: Made) -> Batch:
        pixels, labels, ids = made
        if isinstance(pixels, Crops):
            augmentation = self._source.augmentation
            return finished(pixels, augmentation.mean, augmentation.std, self.device), labels, ids
        return torch.from_numpy(pixels), labels, ids

    def _made(self, keys: list[Key]) -> Iterator[Made]:
        """Yield what the source makes of keys, in this process or in others."""
        if not self.workers:
            yield from map(self._source.make, keys)
            return
        self._sampler.keys = keys
        if self._loader is None:
            self._loader = DataLoader(
                self._source,
                sampler=self._sampler,
                batch_size=None,  # the source makes whole batches
                num_workers=self.workers,
                collate_fn=_as_it_is,
                pin_memory=self._on_gpu,
                persistent_workers=True,
                multiprocessing_context=_fork_server(),
            )
        try:
            for result in self._loader:
                if isinstance(result, DataError):
                    raise result
                yield result
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise StageError(
                f"{first_line(error)}: most likely memory, or /dev/shm, is full (docs/gpus.md)"
            ) from error

    def masks(self, epoch: int, ids: Sequence[str], read: Callable[[str], Mask] | None = None) -> Tensor:
        """Return uint8[B, S, S], the masks under the crops that these images have in that epoch.

        Args:
            epoch: whose crops.
            ids: of the images.
            read: gives the mask uint8[H, W] of an id, at the photo's size; None takes the data set's.
        """
        source = self._source
        find = read or source.dataset.mask
        crops = [source.augmentation.mask(find(id), random_state(self.seed, epoch, id)) for id in ids]
        return torch.from_numpy(np.stack(crops))

    def close(self) -> None:
        """End the background processes; a later epoch starts them again."""
        self._loader = None


@dataclass(eq=False)
class BatchSource(TorchDataset[Any]):
    """Makes batches, in any process.

    `raw`: of crops as bytes, for a GPU; they go through shared memory. Finished ones are four times as large
    and go through a pipe, as arrays: the shared memory of a container may hold less than one of them.
    """

    dataset: Dataset
    ids: tuple[str, ...]
    labels: npt.NDArray[np.float32]
    augmentation: Augmentation
    seed: int
    raw: bool = False

    def make(self, key: Key) -> Made:
        epoch, positions = key
        ids = tuple(self.ids[position] for position in positions)
        return self._pixels(epoch, ids), torch.from_numpy(self.labels[list(positions)]), ids

    def _pixels(self, epoch: int, ids: Sequence[str]) -> Crops | Pixels:
        size = self.augmentation.crop
        draws = ((id, random_state(self.seed, epoch, id)) for id in ids)
        if not self.raw:
            images = np.empty((len(ids), 3, size, size), np.float32)
            for target, (id, random) in zip(images, draws, strict=True):
                target[:] = self.augmentation(self.dataset.image(id), random)
            return images
        pixels = torch.empty((len(ids), size, size, 3), dtype=torch.uint8)
        windows, jitters = [], []
        for number, (id, random) in enumerate(draws):
            canvas, place, jitter = self.augmentation.raw(self.dataset.image(id), random)
            pixels[number] = torch.from_numpy(canvas)
            windows.append((place.row, place.column, place.rows, place.columns))
            jitters += [] if jitter is None else [jitter.row()]
        draws_of_colour = torch.tensor(jitters, dtype=torch.float64).reshape(-1, 8)
        return Crops(pixels, torch.tensor(windows).reshape(-1, 4), draws_of_colour)

    def __getitem__(self, key: Key) -> Made | DataError:
        # A background process hands its error over as a value: torch would wrap it in a traceback.
        try:
            return self.make(key)
        except DataError as error:
            return error


class _Sampler:
    """The keys of the next epoch, which the loader reads when it begins."""

    def __init__(self) -> None:
        self.keys: list[Key] = []

    def __iter__(self) -> Iterator[Key]:
        return iter(self.keys)

    def __len__(self) -> int:
        return len(self.keys)


@functools.cache
def _fork_server() -> BaseContext:
    """Return the way to start processes that inherit neither threads nor a GPU context.

    The server imports torch once for all of them, unless it was already started for something else.
    """
    context = FromServer()
    context.set_forkserver_preload([__name__])
    return context


def _as_it_is(result: Any) -> Any:
    return result
