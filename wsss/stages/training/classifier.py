"""Stage `classifier`: trains a CAM network on image-level labels.

It is assembled from parts (a backbone, ways to hide and to mix, regularisers) and knows no method by
name. The last epoch is kept; nothing is selected on masks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from wsss.config.params.stages import ClassifierParams
from wsss.files import write_json
from wsss.methods.hider import Hider
from wsss.methods.mixing import Mixer
from wsss.methods.objective import Objective
from wsss.methods.optimiser import LEGACY_TOTAL
from wsss.models.computing.precision import Precision, placed, sent
from wsss.stages.contract import Context, Stage
from wsss.stages.kinds.training.files import CLASSIFIER_ABOUT, CLASSIFIER_WEIGHTS
from wsss.stages.step_metrics import GRADIENT, LOSS, LOSS_TERM, LR
from wsss.stages.subcategories import read_subcategories
from wsss.stages.training.network import (
    build_network,
    head_of_weights,
    mixing_taps,
    to_channels_last,
)
from wsss.stages.training.rung import holdout_map, rung_score
from wsss.stages.training.training import Sums, begin_training, epoch_seed, photo_batches


class Classifier(Stage):
    """One step trains one epoch; without epochs, the only step measures a published classifier.

    Files: classifier.safetensors and classifier.json; training.pt if `span` ends before the last epoch.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        assert isinstance(context.params, ClassifierParams)
        self.params = params = context.params
        self.device = torch.device(context.device)
        self.precision = Precision.of(params)
        ids = context.data.train
        labels = context.data.dataset.labels(ids).astype(np.float32)
        parent: torch.Tensor | None = None
        self.parent: list[int] = []
        if params.subcategory_weight:
            found = read_subcategories(context.inputs["subcategories"], ids)
            labels = np.concatenate([labels, found.labels, found.similarity], axis=1)
            parent = torch.from_numpy(found.parent).to(self.device)
            self.parent = found.parent.tolist()
        self.network = build_network(params, len(context.data.dataset.classes), len(self.parent))
        self.origin: dict[str, str] = {}
        if params.head == "weights":
            head, layout = head_of_weights(params, context.data.dataset.classes)
            self.network.head.get_parameter("weight").data.copy_(head)
            self.origin = {"initial_weights": layout}
        self.network.backbone.freeze(params.freeze)
        to_channels_last(placed(self.network, self.device, self.precision))
        self.batches = photo_batches(context, params, self.network, labels)
        steps, learning = len(self.batches) * max(1, params.epochs), params
        if params.optimiser == "legacy":
            wrong = {"momentum": params.weight_decay, "head_multiplier": 1.0}
            steps, learning = LEGACY_TOTAL, params.model_copy(update=wrong)
        self.training = begin_training(
            self.network, learning, self.device, heads=self.network.heads, steps=steps
        )
        self.hider = Hider(params)
        self.mixer = Mixer(params.mixing, mixing_taps(params))
        self.objective = Objective(params, parent)
        self.epoch = params.begin
        if params.begin:
            self.training.continue_from(context.inputs["classifier"])

    @property
    def steps(self) -> int:
        return max(1, self.params.end - self.params.begin)

    def step(self) -> dict[str, float]:
        if self.epoch == self.params.end:
            return {LR: 0.0, **self._evaluate()}  # there is nothing to train
        seed = epoch_seed(self.context.seed, self.epoch)
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        self.network.train()
        sums = Sums()
        shares: dict[str, float] = {}
        count = 0
        with self.training.epoch():
            for images, labels, ids in self.batches.epoch(self.epoch):
                masks = self.batches.masks(self.epoch, ids) if self.params.supervision == "masks" else None
                losses, found = self._batch(images, labels, generator, masks, measure=not count)
                shares |= found
                sums.add(losses)
                count += 1
                self.on_part(count, len(self.batches))
        self.epoch += 1
        metrics = sums.means(count)
        metrics |= {f"{GRADIENT}{name}": value for name, value in shares.items()}
        metrics[LR] = self.training.lr
        return {**metrics, **self._evaluate()}

    def _batch(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        generator: torch.Generator,
        masks: torch.Tensor | None = None,
        measure: bool = False,
    ) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
        """Take one step; return the losses, on the device, and with `measure` each term's share of the
        gradient.

        What is mixed at a tap isn't compiled: it is another function for every batch.
        """
        images = self.hider.hide(images, generator).contiguous(memory_format=torch.channels_last)
        mixed = self.mixer.mix(images, sent(labels, self.device), generator)
        with self.training.autocast():
            if mixed.tap:
                output = self.network.forward(mixed.images, mixed.tap, mixed.mix_features)
            else:
                output = self.network(mixed.images)
            cams = self.network.maps(output.features) if self.objective.needs_cams else None
        sub_logits = None if output.sub_logits is None else output.sub_logits.float()
        masks = None if masks is None else sent(masks, self.device)
        loss, terms = self.objective(output.logits.float(), cams, mixed, sub_logits, masks)
        shares: dict[str, float] = {}
        if measure:
            shares = self.objective.gradient_shares(terms, output.features, self.training.gradient_scales)
        self.training.step(loss)
        return {LOSS: loss, **{f"{LOSS_TERM}{name}": term for name, term in terms.items()}}, shares

    def _evaluate(self) -> dict[str, float]:
        """Return the hold-out mAP, and every `rung.every` epochs and after the last one the rung score."""
        self.network.eval()
        metrics = holdout_map(self.network, self.context.data, self.params.middle, self.device)
        rung = self.params.rung
        if rung.images and (self.epoch % rung.every == 0 or self.epoch == self.params.end):
            metrics |= rung_score(self.network, self.context.data, rung, self.params.crop, self.device)
        return metrics

    def save(self, folder: Path) -> None:
        self.training.save(folder)

    def load(self, folder: Path, done: int) -> None:
        self.training.load(folder)
        self.epoch = self.params.begin + done

    def finish(self, folder: Path) -> dict[str, Any]:
        self.batches.close()
        self.training.write_weights(folder / CLASSIFIER_WEIGHTS)
        if self.params.end < self.params.epochs:
            self.training.save(folder)  # for the classifier that goes on from this one
        classes = list(self.context.data.dataset.classes)
        params = self.params.model_dump(mode="json")
        about = {"params": params, "classes": classes, "subcategories": len(self.parent)}
        write_json(folder / CLASSIFIER_ABOUT, {**about, "parent": self.parent})
        return {"images": len(self.context.data.train), "classes": classes, **self.origin}
