"""Stage `pixel_head`: looks at the photos that teach once, keeps their features, and learns from those."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate

from wsss.config.params.pixel_head import PixelHeadParams
from wsss.data.pictures.sizes import shrink_mask
from wsss.errors import DataError
from wsss.files import read_json, write_atomic, write_json
from wsss.labels import IGNORED
from wsss.masks.images import read_mask
from wsss.methods.optimiser import PolySchedule
from wsss.methods.pixel_loss import labels_at
from wsss.models.computing.memory import network_bytes_per_pixel
from wsss.models.computing.precision import sent
from wsss.models.computing.statistics import channel_statistics
from wsss.models.networks.pixel_head import fitted
from wsss.stages.contract import Context, Stage
from wsss.stages.kinds.training.files import CLASSIFIER_ABOUT, SEGMENTER_ABOUT, SEGMENTER_WEIGHTS
from wsss.stages.kinds.training.pixel_head import teaching_images
from wsss.stages.memory_bound import MemoryBound
from wsss.stages.shards import split_shards
from wsss.stages.step_metrics import LOSS, LR
from wsss.stages.training.network import load_classifier
from wsss.stages.training.segmentation_network import build_pixel_head
from wsss.stages.training.training import Training, epoch_seed

LOOKED_AT = 16
"""Photos of a step."""
UPDATES = 50
"""Updates of a step, at most."""
POWER = 0.9
"""Of the schedule of its learning rate."""
CELLS = 4
"""Answers along each side of a cell that are compared with labels."""


class PixelHead(Stage):
    """The first steps look at a chunk of photos each, the others take `UPDATES` steps down the gradient.
    Files: segmenter.safetensors and segmenter.json, as a `segmenter`'s.

    Features of every photo that teaches, and of its mirrored copy, lie as float16 in the stage's folder while
    it learns: on a CPU thousands of updates cost less than the looking.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        assert isinstance(context.params, PixelHeadParams)
        self.params = params = context.params
        self.ids = teaching_images(params, context.data, context.seed)
        self.source = context.inputs["classifier"]
        self.masks = context.inputs.get("pseudo_masks")
        missing = [id for id in self.ids if self.masks and not (self.masks / f"{id}.png").is_file()]
        if missing:
            raise DataError(f"{len(missing)} images have no pseudo mask, the first is {missing[0]}")
        self.looks = split_shards(self.ids, LOOKED_AT)
        self.rounds = -(-params.iterations // UPDATES)
        self.views = [(scale, mirrored) for scale in params.scales for mirrored in (False, True)]
        self.device = torch.device(context.device)
        cam = load_classifier(self.source, context.device)
        self.precision = cam.precision
        torch.manual_seed(context.seed)
        self.network = build_pixel_head(params, cam, context.data.dataset.classes).to(self.device)
        head = self.network.head
        optimiser = torch.optim.AdamW(head.parameters(), lr=params.lr, weight_decay=params.weight_decay)
        schedule = PolySchedule(optimiser, params.iterations, POWER)
        self.training = Training(
            head, optimiser, schedule, self.device, precision=self.precision, grad_clip=0.0
        )
        self.per_pixel = network_bytes_per_pixel(self.network.features, context.device)
        self.bound = MemoryBound(context.work, "features", context.device)
        self.done = 0

    @property
    def steps(self) -> int:
        return len(self.looks) + self.rounds

    def step(self) -> dict[str, float]:
        metrics = self._look() if self.done < len(self.looks) else self._learn()
        self.done += 1
        return metrics

    def _look(self) -> dict[str, float]:
        """Keep features and labels of a chunk of photos."""
        ids = self.looks[self.done]
        for id in ids:
            labels = self._labels(id)
            for number, features in enumerate(self._features(id)):
                mirrored = labels.flip(-1) if self.views[number][1] else labels
                grid = [CELLS * length for length in features.shape[1:]]
                small = labels_at(mirrored[None], grid)[0].to(torch.uint8).numpy()
                content = io.BytesIO()
                np.savez(content, allow_pickle=False, features=features, labels=small)
                write_atomic(self._file(id, number), content.getvalue())
        self.bound.save()
        return {"images": float(len(ids))}

    def _file(self, id: str, view: int) -> Path:
        return self.context.work / f"{id}.{view}.npz"

    def _features(self, id: str) -> list[np.ndarray]:
        """Return float16[D, h, w] of every view of a photo."""
        network = self.network.eval()
        photo = np.array(self.context.data.photo(id))
        pixels = sent(torch.from_numpy(photo), self.device).permute(2, 0, 1)[None].float() / 255
        mean, std = channel_statistics(network, pixels)
        x, found = (pixels - mean) / std, []
        height, width = photo.shape[:2]
        factor = min(1.0, self.params.size / max(height, width))
        largest = max(scale for scale, _ in self.views) * factor
        shown = max(1, round(height * largest)), max(1, round(width * largest))
        fitting = max(self.bound.fit(id, shown, self.per_pixel)) / max(shown)
        for scale, mirrored in self.views:
            view = fitted(x, self.params.size, scale * fitting)
            view = (view.flip(-1) if mirrored else view).contiguous(memory_format=torch.channels_last)
            with torch.inference_mode(), self.training.autocast():
                features = network.features(view)[0, : network.inputs]
            found.append(features.float().cpu().numpy().astype(np.float16))
        return found

    def _learn(self) -> dict[str, float]:
        """Take up to `UPDATES` steps, each by the mean loss of a batch of views."""
        number = self.done - len(self.looks)
        seed = epoch_seed(self.context.seed, number)
        torch.manual_seed(seed)
        random = np.random.default_rng(seed)
        count = min(UPDATES, self.params.iterations - number * UPDATES)
        order = np.concatenate(
            [random.permutation(len(self.ids)) for _ in range(-(-count * self.params.batch // len(self.ids)))]
        )
        views = random.integers(len(self.views), size=len(order))
        self.network.train()
        losses: list[Tensor] = []
        for start in range(0, count * self.params.batch, self.params.batch):
            batch = slice(start, start + self.params.batch)
            losses.append(self._update(order[batch], views[batch]))
        # A GPU is asked once a step: it goes on with the next update meanwhile.
        return {LOSS: float(torch.stack(losses).cpu().numpy().mean()), LR: self.training.lr}

    def _update(self, photos: np.ndarray, views: np.ndarray) -> Tensor:
        """Take one step and return the loss, a scalar float64 on the device."""
        self.training.clear()
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for photo, view in zip(photos, views, strict=True):
            with np.load(self._file(self.ids[photo], int(view)), allow_pickle=False) as kept:
                features, labels = (torch.from_numpy(kept[name])[None] for name in ("features", "labels"))
            with self.training.autocast():
                logits = self.network.head(sent(features, self.device).float())
            loss = cell_loss(logits.float(), sent(labels, self.device)) / len(photos)
            self.training.backward(loss)
            total = total + loss.detach().double()
        self.training.update()
        return total

    def _labels(self, id: str) -> Tensor:
        """Return what a photo teaches, uint8[H, W] at its working size, 255 where that is unknown."""
        dataset = self.context.data.dataset
        mask = dataset.mask(id) if self.masks is None else shrink_mask(read_mask(self.masks / f"{id}.png"))
        if self.params.learns == "foreground":
            mask = np.where(mask == IGNORED, mask, np.minimum(mask, 1))
        return torch.from_numpy(np.ascontiguousarray(mask))

    def save(self, folder: Path) -> None:
        self.training.save(folder)

    def load(self, folder: Path, done: int) -> None:
        self.training.load(folder)
        self.done = done

    def finish(self, folder: Path) -> dict[str, Any]:
        self.training.write_weights(folder / SEGMENTER_WEIGHTS, self.network)
        params, drawn = self.params.model_dump(mode="json"), {}
        about = {
            "network": "pixel_head",
            "params": params,
            "classes": list(self.network.classes),
            "classifier": read_json(self.source / CLASSIFIER_ABOUT),
        }
        write_json(folder / SEGMENTER_ABOUT, about)
        if self.params.drawn:
            drawn = {
                "drawn_from": "teach" if self.context.data.teach else "select",
                "drawn": sorted(self.ids),
            }
        supervision = params["supervision"]
        return {"images": len(self.ids), "supervision": supervision, **drawn, **self.bound.notes()}


def cell_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of logits float32[B, K, h, w], brought to the grid of labels
    uint8[B, H, W], of which 255 is left out; 0 where nothing is left."""
    grown = interpolate(logits, labels.shape[1:], mode="bilinear", align_corners=False)
    total = cross_entropy(grown, labels.long(), ignore_index=IGNORED, reduction="sum")
    return total / (labels != IGNORED).sum().clamp(min=1)
