"""Stage `affinity`: trains a network that says which neighbouring cells belong together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from wsss.config.params.stages import AffinityParams
from wsss.files import read_json, write_json
from wsss.masks.images import read_mask
from wsss.masks.pairs import (
    affinity_loss,
    boundary_affinities,
    pair_affinities,
    pair_labels,
    pair_offsets,
)
from wsss.methods.pixel_loss import labels_at
from wsss.models import (
    AffinityNetwork,
    BoundaryNetwork,
    create_backbone,
)
from wsss.models.computing.precision import Precision, placed, sent
from wsss.stages.contract import Context, Stage
from wsss.stages.step_metrics import LOSS, LR
from wsss.stages.training.network import to_channels_last
from wsss.stages.training.training import Sums, begin_training, epoch_seed, photo_batches

WEIGHTS = "affinity.safetensors"
ABOUT = "affinity.json"


class Affinity(Stage):
    """One step trains one epoch. Files: affinity.safetensors and affinity.json."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        assert isinstance(context.params, AffinityParams)
        self.params = params = context.params
        self.device = torch.device(context.device)
        self.precision = Precision.of(params)
        self.labels = context.inputs["affinity_labels"]
        self.network = build_affinity(params)
        if params.kind == "affinity":
            self.network.backbone.freeze(params.freeze)
        else:
            self.network.backbone.freeze("all")
        to_channels_last(placed(self.network, self.device, self.precision))
        self.batches = photo_batches(context, params, self.network)
        self.offsets = pair_offsets(params.radius)
        self.crop = params.radius if params.pairs == "cropped" else 0
        steps = len(self.batches) * params.epochs
        self.training = begin_training(
            self.network, params, self.device, heads=self.network.heads, steps=steps
        )
        self.epoch = 0

    @property
    def steps(self) -> int:
        return self.params.epochs

    def step(self) -> dict[str, float]:
        seed = epoch_seed(self.context.seed, self.epoch)
        torch.manual_seed(seed)
        self.network.train()
        sums = Sums()
        count = 0
        with self.training.epoch():
            for images, _, ids in self.batches.epoch(self.epoch):
                masks = self.batches.masks(self.epoch, ids, lambda id: read_mask(self.labels / f"{id}.png"))
                sums.add(self._batch(images, masks))
                count += 1
                self.on_part(count, len(self.batches))
        self.epoch += 1
        return {**sums.means(count), LR: self.training.lr}

    def _batch(self, images: Tensor, masks: Tensor) -> dict[str, Tensor]:
        """Take one step; return the loss and the mean affinity of each kind of pair, on the device."""
        images = images.contiguous(memory_format=torch.channels_last)
        with self.training.autocast():
            output = self.network(images)
        labels = labels_at(masks, output.shape[-2:]).to(torch.uint8)
        pairs = pair_labels(sent(labels, self.device), self.offsets, self.crop)
        if self.params.kind == "affinity":
            affinities = pair_affinities(output, self.offsets, self.crop)
        else:
            affinities = boundary_affinities(output.float().sigmoid(), self.offsets)
        loss = affinity_loss(affinities, pairs)
        self.training.step(loss)
        known = affinities.detach()
        means = {
            f"affinity/{name}": (known * chosen).sum() / chosen.sum().clamp(min=1)
            for name, chosen in pairs._asdict().items()
        }
        return {LOSS: loss, **means}

    def save(self, folder: Path) -> None:
        self.training.save(folder)

    def load(self, folder: Path, done: int) -> None:
        self.training.load(folder)
        self.epoch = done

    def finish(self, folder: Path) -> dict[str, Any]:
        self.batches.close()
        self.training.write_weights(folder / WEIGHTS)
        write_json(folder / ABOUT, {"params": self.params.model_dump(mode="json")})
        return {"images": len(self.context.data.train), "pairs": len(self.offsets)}


def build_affinity(params: AffinityParams, weights: str | None = None) -> AffinityNetwork | BoundaryNetwork:
    """Return the network of these parameters, its new layers freshly drawn."""
    backbone = create_backbone(params.backbone, params.weights if weights is None else weights)
    if params.kind == "affinity":
        return AffinityNetwork(backbone)
    return BoundaryNetwork(backbone, canvas=params.crop)


def load_affinity(folder: Path, device: torch.device | str = "cpu") -> AffinityNetwork | BoundaryNetwork:
    """Return the trained network that an affinity artefact holds, on a device and in evaluation mode."""
    params = AffinityParams.model_validate(read_json(folder / ABOUT)["params"])
    network = build_affinity(params, weights="none")
    network.load_state_dict(load_file(folder / WEIGHTS))
    to_channels_last(network)
    return placed(network, device, Precision.of(params)).eval()
