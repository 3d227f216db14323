"""Stage `classifier`: trains a CAM network on image-level labels.

It is assembled from parts (a backbone, a way to mix batches, regularisers) and knows no method by
name. The last epoch is kept; nothing is selected on masks.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from wsss.config.params import ClassifierParams, Params
from wsss.data.loader import ClassificationBatches
from wsss.data.view import DataView
from wsss.files import read_json, write_json
from wsss.methods.mixing import Mixer
from wsss.methods.objective import Objective
from wsss.methods.optimiser import PolySchedule, build_optimiser
from wsss.models import CamNetwork, create_backbone, weights_identity
from wsss.stages.contract import Context, Stage
from wsss.stages.rung import holdout_map, rung_ids, rung_score

WEIGHTS = "classifier.safetensors"
STATE = "training.pt"


class Classifier(Stage):
    """One step trains one epoch. Files: classifier.safetensors and classifier.json."""

    name: ClassVar[str] = "classifier"
    version: ClassVar[int] = 1
    seeded: ClassVar[bool] = True

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        assert isinstance(context.params, ClassifierParams)
        self.params = params = context.params
        self.device = torch.device(context.device)
        self.network = build_network(params, len(context.data.dataset.classes))
        self.network.backbone.freeze(params.freeze)
        to_channels_last(self.network.to(self.device))
        self.batches = ClassificationBatches(
            context.data.dataset,
            context.data.train,
            batch=params.batch,
            crop=params.crop,
            long_side=params.long_side,
            color_jitter=params.color_jitter,
            mean=self.network.mean,
            std=self.network.std,
            seed=context.seed,
            workers=context.threads - 1,
        )
        self.optimiser = build_optimiser(
            self.network,
            lr=params.lr,
            momentum=params.momentum,
            weight_decay=params.weight_decay,
            head_multiplier=params.head_multiplier,
        )
        self.schedule = PolySchedule(self.optimiser, len(self.batches) * params.epochs, params.poly_power)
        self.mixer = Mixer(params.mixing)
        self.objective = Objective(params.entropy, params.concentration)
        self.amp = params.amp and self.device.type == "cuda"
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.amp)
        self.epoch = 0

    @classmethod
    def consumes(cls, params: Params, data: DataView) -> Mapping[str, str]:
        assert isinstance(params, ClassifierParams)
        quick = rung_ids(data, params.rung)
        return {
            "train": data.image_key(data.train),
            "holdout": data.image_key(data.holdout),
            "rung": data.mask_key(quick) if quick else "",
            "weights": weights_identity(params.backbone, params.weights),
        }

    @property
    def steps(self) -> int:
        return self.params.epochs

    def step(self) -> dict[str, float]:
        # Every epoch seeds itself, so that a resumed run needs no generator states.
        seed = int(np.random.SeedSequence([self.context.seed, self.epoch]).generate_state(1)[0])
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        self.network.train()
        sums: dict[str, float] = {}
        count = 0
        for images, labels, _ in self.batches.epoch(self.epoch):
            for name, value in self._batch(images, labels, generator).items():
                sums[name] = sums.get(name, 0.0) + value
            count += 1
        self.epoch += 1
        metrics = {name: value / count for name, value in sums.items()}
        metrics["lr"] = self.optimiser.param_groups[0]["lr"]
        return {**metrics, **self._evaluate()}

    def _batch(
        self, images: torch.Tensor, labels: torch.Tensor, generator: torch.Generator
    ) -> dict[str, float]:
        images = images.to(self.device, non_blocking=True, memory_format=torch.channels_last)
        mixed = self.mixer.mix(images, labels.to(self.device, non_blocking=True), generator)
        with torch.autocast(self.device.type, enabled=self.amp):
            output = self.network(mixed.images)
            cams = self.network.maps(output.features) if self.objective.needs_cams else None
        loss, terms = self.objective(output.logits.float(), cams, mixed)
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(self.scaler.scale(loss))
        if self.params.grad_clip:
            self.scaler.unscale_(self.optimiser)
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.params.grad_clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.schedule.step()
        values = {"loss": loss, **{f"loss/{name}": term for name, term in terms.items()}}
        return {name: float(value.detach()) for name, value in values.items()}

    def _evaluate(self) -> dict[str, float]:
        """Hold-out mAP every epoch; the rung score at its rhythm and after the last epoch."""
        self.network.eval()
        metrics = holdout_map(self.network, self.context.data, self.params.crop, self.device)
        rung = self.params.rung
        if rung.images and (self.epoch % rung.every == 0 or self.epoch == self.params.epochs):
            metrics |= rung_score(self.network, self.context.data, rung, self.params.crop, self.device)
        return metrics

    def save(self, folder: Path) -> None:
        torch.save(
            {
                "network": self.network.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "schedule": self.schedule.state_dict(),
                "scaler": self.scaler.state_dict(),
            },
            folder / STATE,
        )

    def load(self, folder: Path, done: int) -> None:
        state = torch.load(folder / STATE, map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        self.epoch = done

    def finish(self, folder: Path) -> dict[str, Any]:
        self.batches.close()
        tensors = {name: value.contiguous().cpu() for name, value in self.network.state_dict().items()}
        save_file(tensors, folder / WEIGHTS)
        classes = list(self.context.data.dataset.classes)
        about = {"params": self.params.model_dump(mode="json"), "classes": classes}
        write_json(folder / "classifier.json", about)
        return {"images": len(self.context.data.train), "classes": classes}


def to_channels_last(network: torch.nn.Module) -> None:
    """Lay 4-d parameters out as convolutions like them best."""
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def build_network(params: ClassifierParams, classes: int, *, weights: str | None = None) -> CamNetwork:
    """Return the CAM network of these parameters with freshly drawn head weights."""
    return CamNetwork(
        create_backbone(params.backbone, params.weights if weights is None else weights), classes
    )


def load_classifier(folder: Path) -> CamNetwork:
    """Return the trained network that a classifier artefact holds."""
    about = read_json(folder / "classifier.json")
    params = ClassifierParams.model_validate(about["params"])
    network = build_network(params, len(about["classes"]), weights="none")
    network.load_state_dict(load_file(folder / WEIGHTS))
    to_channels_last(network)
    return network
