"""Stage `segmenter`: trains a segmentation network on pseudo masks; it then needs no label of a photo."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from wsss.config.params.stages import SegmenterParams
from wsss.errors import DataError, StageError
from wsss.files import write_json
from wsss.models.computing.precision import Precision
from wsss.stages.contract import Context, Stage
from wsss.stages.kinds.training.files import SEGMENTER_ABOUT, SEGMENTER_WEIGHTS
from wsss.stages.training.pixel_labels import PixelLabels, some_with_masks, unread
from wsss.stages.training.segmentation_network import describe_weights
from wsss.stages.training.segmenter_training import SegmenterTraining, Task, planned_epochs
from wsss.stages.training.worker_group import WorkerGroup


class Segmenter(Stage):
    """One step trains one epoch. Files: segmenter.safetensors and segmenter.json.

    With several `workers` in its context each makes its share of every batch. The order of sums then differs,
    so that results agree within rounding; bit for bit they agree for one number of workers. That number is
    part of the record, not of the key, like the number of threads.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        assert isinstance(context.params, SegmenterParams)
        self.params = params = context.params
        folder = None if params.supervision == "masks" else context.inputs["pseudo_masks"]
        labels = PixelLabels(context.data.dataset, folder, params.ignore_below)
        _check_labels(labels, (*context.data.train, *(context.data.holdout if params.patience else ())))
        # With `patience` it decides which weights are kept; without, it is only looked at.
        holdout = context.data.holdout if params.patience else some_with_masks(labels, context.data.holdout)
        if context.workers > min(params.batch, len(context.data.train)):
            raise StageError(f"{context.workers} workers can't share a batch of {params.batch} images")
        self.initial_weights = describe_weights(params)
        self.precision = Precision.of(params)
        self.task = Task(
            params=params,
            dataset=context.data.dataset,
            train=context.data.train,
            holdout=holdout,
            labels=labels,
            seed=context.seed,
            threads=context.threads,
            device=context.device,
        )
        self.group: WorkerGroup | None = None
        self.single: SegmenterTraining | None = None
        if context.workers == 1:
            self.single = SegmenterTraining(self.task)
            self.epochs = self.single.epochs
        else:
            self.epochs = planned_epochs(self.task)

    @property
    def steps(self) -> int:
        return self.epochs

    def step(self) -> dict[str, float]:
        metrics: dict[str, float]
        if self.single is not None:
            metrics, self.epochs = self.single.learn(self.on_part), self.single.epochs
        else:
            metrics, self.epochs = self._workers().call("learn_and_count")[0]
        return metrics

    def save(self, folder: Path) -> None:
        if self.single is not None:
            self.single.save(folder)
        else:
            self._workers().call_first("save", folder)

    def load(self, folder: Path, done: int) -> None:
        if self.single is not None:
            self.single.load(folder, done)
            self.epochs = self.single.epochs
        else:
            self.epochs = self._workers().call("load_and_count", folder, done)[0]

    def finish(self, folder: Path) -> dict[str, Any]:
        if self.single is not None:
            self.single.write_weights(folder / SEGMENTER_WEIGHTS)
        else:
            self._workers().call_first("write_weights", folder / SEGMENTER_WEIGHTS)
        self.close()
        classes = list(self.context.data.dataset.classes)
        params = self.params.model_dump(mode="json")
        about = {"params": params, "classes": classes, "initial_weights": self.initial_weights}
        write_json(folder / SEGMENTER_ABOUT, about)
        return {
            "images": len(self.task.train),
            "supervision": self.params.supervision,
            "initial_weights": self.initial_weights,
            "workers": self.context.workers,
        }

    def close(self) -> None:
        if self.single is not None:
            self.single.close()
        if self.group is not None:
            self.group.close()
            self.group = None

    def _workers(self) -> WorkerGroup:
        if self.group is None:
            gpus = self.context.device.startswith("cuda")
            self.group = WorkerGroup(
                functools.partial(SegmenterTraining, self.task),
                self.context.workers,
                threads=max(1, self.context.threads // self.context.workers),
                gpus=gpus,
            )
        return self.group


def _check_labels(labels: PixelLabels, ids: tuple[str, ...]) -> None:
    missing = unread(labels, ids)
    if missing:
        raise DataError(f"{len(missing)} images have no pseudo mask, the first is {missing[0]}")
