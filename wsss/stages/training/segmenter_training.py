"""How a segmentation network learns, in one process or as one of several that do it together."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from wsss.config.params.stages import SegmenterParams
from wsss.data.decode import shrink_mask
from wsss.data.pixel_batches import ResizedCrop, SegmentationBatches
from wsss.data.readers.voc import Dataset
from wsss.errors import StageError
from wsss.labels import IGNORED
from wsss.masks.images import Mask, read_mask
from wsss.masks.segmentation import label_batch
from wsss.methods.pixel_loss import SegmentationLoss, labels_at, pyramid_loss
from wsss.metrics import confusion, miou
from wsss.models import DeepLab
from wsss.models.precision import Precision, placed, sent
from wsss.stages.kinds.refining.pseudo_masks import CONFIDENCE
from wsss.stages.training.segmentation_network import build_segmenter
from wsss.stages.training.training import begin_training, epoch_seed


@dataclass(frozen=True)
class PixelLabels:
    """Gives the labels uint8[H, W] of an image at its working size, 255 where they are not to be learnt from.

    They are the pseudo masks in `folder`, or the data set's masks when it is None.
    """

    dataset: Dataset
    folder: Path | None
    ignore_below: float = 0.0

    def __call__(self, id: str) -> Mask:
        if self.folder is None:
            return self.dataset.mask(id)
        labels = shrink_mask(read_mask(self.folder / f"{id}.png"))
        if self.ignore_below:
            confidence = shrink_mask(read_mask(self.folder / CONFIDENCE / f"{id}.png"))
            labels[confidence < round(255 * self.ignore_below)] = IGNORED
        return labels


@dataclass(frozen=True)
class Task:
    """All that a process needs to know; it can be sent to one."""

    params: SegmenterParams
    dataset: Dataset
    train: tuple[str, ...]
    holdout: tuple[str, ...]
    labels: PixelLabels
    seed: int
    threads: int
    device: str


def planned_epochs(task: Task) -> int:
    """Return the number of epochs, the last of which may be cut short, unless `patience` lowers it."""
    if task.params.iterations is None:
        return task.params.epochs
    batches = len(task.train) // min(task.params.batch, len(task.train))
    return math.ceil(task.params.iterations / batches)


class SegmenterTraining:
    """A network, its batches and its optimiser.

    Args:
        task: what to train on, and how.
        rank: of this worker, in [0, workers).
        workers: that train together: each makes its share of every batch and all sum their gradients, for
            which a process group must exist.
    """

    def __init__(self, task: Task, rank: int = 0, workers: int = 1) -> None:
        self.task = task
        self.params = params = task.params
        self.rank, self.workers = rank, workers
        several = workers > 1 and task.device == "cuda"
        self.device = torch.device("cuda", rank) if several else torch.device(task.device)
        torch.manual_seed(task.seed)
        precision = Precision.of(params)
        self.network: DeepLab = placed(build_segmenter(params, task.dataset.classes), self.device, precision)
        self.loss = SegmentationLoss(params.loss)
        crops = ResizedCrop(
            params.crop,
            (params.crop, params.crop),
            params.color_jitter,
            self.network.mean,
            self.network.std,
            params.resize,
        )
        self.batches = SegmentationBatches(
            task.dataset,
            task.train,
            crops,
            task.labels,
            batch=params.batch,
            seed=task.seed,
            workers=task.threads // workers - 1,
            share=(rank, workers),
            device=self.device,
        )
        self.total = params.iterations or params.epochs * len(self.batches)
        self.average: AveragedModel | None = None
        if params.ema:
            average: Any = get_ema_multi_avg_fn  # torch gives it no types
            self.average = AveragedModel(self.network, multi_avg_fn=average(params.ema))
        self.best = Best()
        self.training = begin_training(
            self.network,
            params,
            self.device,
            heads=[self.network.aspp],
            steps=self.total,
            more={"best": self.best, **({"average": self.average} if self.average else {})},
        )
        self.forward: nn.Module = self.network
        if workers > 1:
            gpu = [self.device] if self.device.type == "cuda" else None
            self.forward = DistributedDataParallel(self.network, device_ids=gpu, broadcast_buffers=False)
        self.epoch = 0

    @property
    def epochs(self) -> int:
        """Number of epochs, as far as is known now."""
        if self.params.patience and self.best.stale >= self.params.patience:
            return self.epoch
        return planned_epochs(self.task)

    @functools.cached_property
    def grids(self) -> list[torch.Size]:
        """Sizes of the logits that are compared with labels."""
        with torch.no_grad():
            pyramid = self.network(torch.zeros(1, 3, self.params.crop, self.params.crop, device=self.device))
        return [logits.shape[2:] for logits in pyramid]

    def learn(self) -> dict[str, float]:
        """Train one epoch and return metrics of it."""
        grids = self.grids  # before the seed is set: a network may have chance in it
        torch.manual_seed(epoch_seed(self.task.seed, self.epoch) + self.rank)
        self.network.train()
        count = min(len(self.batches), self.total - self.epoch * len(self.batches))
        losses = torch.zeros((), dtype=torch.float64, device=self.device)
        skipped = ignored = pixels = 0
        with self.training.epoch():
            for images, labels, _ in itertools.islice(self.batches.epoch(self.epoch), count):
                loss = self._update(images, labels, grids)
                skipped += loss is None
                losses += 0.0 if loss is None else loss
                ignored += int((labels == IGNORED).sum())  # labels lie on the CPU
                pixels += labels.numel()
        self.epoch += 1
        counted = sent(torch.tensor([ignored, pixels], dtype=torch.float64), self.device)
        loss_sum, ignored, pixels = self._over_all(torch.cat([losses[None], counted])).tolist()
        metrics = {"loss": loss_sum / max(1, count - skipped), "ignored": ignored / pixels}
        return {**metrics, "skipped": float(skipped), "lr": self.training.lr, **self._examine()}

    def _update(self, images: Tensor, labels: Tensor, grids: Sequence[torch.Size]) -> Tensor | None:
        """Take one step and return this process's share of the loss; without a known label do nothing."""
        counts = torch.stack([self.loss.counts(labels_at(labels, size)) for size in grids])
        if self.workers > 1:
            counts = self._over_all(counts)
        if not bool(counts.sum()):  # with one process they still lie on the CPU: no wait for a GPU
            self.training.schedule.step()
            return None
        counts = sent(counts, self.device)
        self.training.clear()
        parts = min(self.params.accumulate, len(images))
        value = torch.zeros((), device=self.device)
        for number, (photos, truth) in enumerate(
            zip(images.tensor_split(parts), labels.tensor_split(parts), strict=True), start=1
        ):
            photos = photos.contiguous(memory_format=torch.channels_last)
            with self._summing(last=number == parts):
                with self.training.autocast():
                    pyramid = self.forward(photos)
                loss = pyramid_loss(self.loss, pyramid, sent(truth, self.device), counts)
                # Gradients are averaged over processes, but their shares are to be added up.
                self.training.backward(loss * self.workers)
            value += loss.detach()
        self.training.update()
        if self.average is not None:
            self.average.update_parameters(self.network)
        return value

    def _summing(self, *, last: bool) -> AbstractContextManager[None]:
        """Return the context of a backward pass; gradients are exchanged after the last."""
        if last or not isinstance(self.forward, DistributedDataParallel):
            return nullcontext()
        return self.forward.no_sync()

    def _over_all(self, values: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes."""
        values = sent(values, self.device)
        if self.workers > 1:
            distributed.all_reduce(values)
        return values

    @property
    def kept(self) -> DeepLab:
        """The network that would be kept now: its moving average, if there is one."""
        if self.average is None:
            return self.network
        assert isinstance(self.average.module, DeepLab)
        return self.average.module

    def _examine(self) -> dict[str, float]:
        """Compare with the pseudo masks of the hold-out and remember the best weights, with `patience`."""
        if not self.params.patience:
            return {}
        network = self.kept.eval()
        classes = len(network.classes)
        total = np.zeros((classes + 1, classes + 1), np.int64)
        for id in self.task.holdout:
            photo = np.asarray(self.task.dataset.image(id))
            (found,) = label_batch(network, [photo], scales=(1.0,), flip=False, device=self.device)
            total += confusion(self.task.labels(id), found, classes)
        score = miou(total)
        self.best.offer(score, network)
        return {"holdout/miou": score}

    def learn_and_count(self) -> tuple[dict[str, float], int]:
        """Train one epoch; return metrics of it and the number of epochs, which `patience` may lower."""
        return self.learn(), self.epochs

    def load_and_count(self, folder: Path, done: int) -> int:
        """Go on from what `save` wrote; return the number of epochs."""
        self.load(folder, done)
        return self.epochs

    def save(self, folder: Path) -> None:
        """Write everything that a later epoch depends on."""
        self.training.save(folder)

    def load(self, folder: Path, done: int) -> None:
        """Go on from what `save` wrote after so many epochs."""
        self.training.load(folder)
        self.epoch = done

    def write_weights(self, path: Path) -> None:
        """Write the tensors to keep: those of the last epoch, or with `patience` of the best.

        Raises `StageError` when nothing was learnt.
        """
        if not self.training.optimiser.state:
            raise StageError("no crop had a pixel with a label: every batch was skipped, nothing was learnt")
        if self.params.patience:
            self.kept.load_state_dict(self.best.weights)
        self.training.write_weights(path, self.kept)

    def close(self) -> None:
        """End the background processes."""
        self.batches.close()


class Best:
    """The best score so far, the weights that had it, and for how many epochs nothing was better."""

    def __init__(self) -> None:
        self.score = -1.0
        self.stale = 0
        self.weights: dict[str, Tensor] = {}

    def offer(self, score: float, network: nn.Module) -> None:
        self.stale += 1
        if score > self.score:
            self.score, self.stale = score, 0
            self.weights = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        return {"score": self.score, "stale": self.stale, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.score, self.stale, self.weights = float(state["score"]), int(state["stale"]), state["weights"]


def unread(labels: PixelLabels, ids: Sequence[str]) -> list[str]:
    """Return the ids whose labels, or whose confidence where it is needed, are missing."""
    if labels.folder is None:
        return []
    folders = [labels.folder, *([labels.folder / CONFIDENCE] if labels.ignore_below else [])]
    return [id for id in ids if not all((folder / f"{id}.png").is_file() for folder in folders)]
