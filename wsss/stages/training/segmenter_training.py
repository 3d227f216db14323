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

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from wsss.config.params.stages import SegmenterParams
from wsss.data.batches.pixel_batches import ResizedCrop, SegmentationBatches
from wsss.data.photo_set import Dataset
from wsss.errors import StageError
from wsss.labels import IGNORED
from wsss.methods.pixel_loss import SegmentationLoss, labels_at, pyramid_loss
from wsss.metrics import miou
from wsss.models import DeepLab
from wsss.models.computing.precision import Precision, placed, sent
from wsss.stages.contract import OnPart, unheard
from wsss.stages.step_metrics import HOLDOUT_FLOOR, HOLDOUT_MIOU, LOSS, LR
from wsss.stages.training.holdout_masks import Best, compared, floor
from wsss.stages.training.pixel_labels import PixelLabels
from wsss.stages.training.segmentation_network import build_segmenter
from wsss.stages.training.training import begin_training, epoch_seed


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

    def learn(self, on_part: OnPart = unheard) -> dict[str, float]:
        """Train one epoch and return metrics of it; `on_part` hears of every batch."""
        grids = self.grids  # before the seed is set: a network may draw random numbers
        torch.manual_seed(epoch_seed(self.task.seed, self.epoch) + self.rank)
        self.network.train()
        count = min(len(self.batches), self.total - self.epoch * len(self.batches))
        losses = torch.zeros((), dtype=torch.float64, device=self.device)
        skipped = ignored = pixels = 0
        with self.training.epoch():
            batches = itertools.islice(self.batches.epoch(self.epoch), count)
            for number, (images, labels, _) in enumerate(batches, start=1):
                loss = self._update(images, labels, grids)
                skipped += loss is None
                losses += 0.0 if loss is None else loss
                ignored += int((labels == IGNORED).sum())  # labels lie on the CPU
                pixels += labels.numel()
                on_part(number, count)
        self.epoch += 1
        counted = sent(torch.tensor([ignored, pixels], dtype=torch.float64), self.device)
        loss_sum, ignored, pixels = self._over_all(torch.cat([losses[None], counted])).tolist()
        metrics = {LOSS: loss_sum / max(1, count - skipped), "ignored": ignored / pixels}
        return {**metrics, "skipped": float(skipped), LR: self.training.lr, **self._examine()}

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
                # Torch averages gradients over processes, but the shares must be summed.
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
        """Compare with the pseudo masks of the hold-out; with `patience` remember the best weights.

        `HOLDOUT_FLOOR` is what nothing but background would score there.
        """
        params, decides = self.params, self.params.patience > 0
        if not self.task.holdout or (self.rank and not decides):
            return {}
        network = self.kept.eval()
        # To look at a network must not take more memory than to train it.
        pixels = max(1, params.batch // params.accumulate // self.workers) * params.crop**2
        total = compared(
            network,
            self.task.dataset,
            self.task.labels,
            self.task.holdout,
            self.device,
            most=None if decides else pixels,
        )
        if not decides and not total.any():  # of no pixel a label is known
            return {}
        score = miou(total)
        if decides:
            self.best.offer(score, network)
        return {HOLDOUT_MIOU: score, HOLDOUT_FLOOR: floor(total)}

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
