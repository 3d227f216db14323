"""The steps whose speed is measured, each beside the bare network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from wsss.config.params.stages import (
    AffinityParams,
    CamsParams,
    FeaturesParams,
    SegmenterParams,
    WalkStageParams,
    classifier_params,
)
from wsss.data.view import DataView, working_sizes
from wsss.files import write_json
from wsss.masks.cams import group_by_size, images_at_once, scaled_size
from wsss.methods.losses import classification_loss
from wsss.methods.pixel_loss import labels_at, pyramid_loss
from wsss.models.computing.precision import applied, fixed_sizes, sent
from wsss.pipeline.speed.settings import Settings, Speed, compared, cpu_clock, opened
from wsss.stages.cams import Cams
from wsss.stages.contract import Context, Stage
from wsss.stages.features import Features
from wsss.stages.refining.walk import Walk
from wsss.stages.training import affinity as affinity_stage
from wsss.stages.training.classifier import Classifier
from wsss.stages.training.pixel_labels import PixelLabels
from wsss.stages.training.segmenter_training import SegmenterTraining, Task
from wsss.stages.training.training import Training

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Measured:
    """What came out: the speed of each step, and the images a second that one CPU reads and augments."""

    speeds: tuple[Speed, ...]
    decoded: float

    def speed(self, step: str) -> Speed:
        """Return one step's."""
        return next(speed for speed in self.speeds if speed.step == step)


def measure(settings: Settings, folder: Path, progress: Progress = lambda step: None) -> Measured:
    """Measure the steps of a chain that run a network.

    Args:
        settings: on what.
        folder: an empty one, for photos, networks and maps.
        progress: called with the name of each step before it is measured.
    """
    torch.set_num_threads(settings.threads)
    torch.manual_seed(0)
    view = opened(settings, folder / "data")
    lab = _Lab(settings, view, folder, progress)
    progress("reading")
    decoded = lab.decoded()
    return Measured((lab.classifier(), lab.cams(), lab.features(), lab.walk(), lab.segmenter()), decoded)


class _Lab:
    """Stages of one chain, outside of any trial, and the bare networks beside each."""

    def __init__(self, settings: Settings, view: DataView, folder: Path, progress: Progress) -> None:
        self.settings = settings
        self.view = view
        self.few = dataclasses.replace(view, train=view.train[: settings.looked], select=(), report=())
        self.folder = folder
        self.progress = progress
        self.device = torch.device(settings.device)
        self.shown: dict[tuple[int, ...], Tensor] = {}
        self.params = classifier_params().model_validate({**self._shared(), "rung": {"images": 0}})

    def _shared(self) -> dict[str, Any]:
        crop = self.settings.crop
        return {
            "backbone": self.settings.backbone,
            "weights": self.settings.weights,
            "crop": crop,
            "batch": self.settings.batch,
            "epochs": 10 * (self.settings.rounds + 1),
        }

    def _context(self, params: Any, name: str, view: DataView, **inputs: str) -> Context:
        folders = {kind: self.folder / place for kind, place in inputs.items()}
        settings, work = self.settings, self.folder / f"{name}-work"
        work.mkdir()
        return Context(params, folders, view, 0, settings.device, settings.threads, work)

    def _finished(self, stage: Stage, name: str) -> None:
        (self.folder / name).mkdir()
        stage.finish(self.folder / name)

    def decoded(self) -> float:
        """Return the crops that one CPU reads and augments in a second, for this device."""
        alone = dataclasses.replace(self.settings, threads=1)
        context = dataclasses.replace(self._context(self.params, "reading", self.view), threads=alone.threads)
        batches = Classifier(context).batches
        keys = [(0, positions) for positions in batches.order(0)]
        began = cpu_clock()
        for key in keys:
            batches._source.make(key)
        return len(keys) * batches.batch / (cpu_clock() - began)

    def classifier(self) -> Speed:
        """Measure an epoch of a classifier, without its hold-out and its rungs."""
        self.progress("classifier step")
        stage = Classifier(self._context(self.params, "classifier", self.view))
        kept = [
            (images.clone(), sent(labels, self.device).clone())
            for images, labels, _ in stage.batches.epoch(0)
        ]

        def loss(images: Tensor, labels: Tensor) -> Tensor:
            return classification_loss(stage.network(images).logits.float(), labels)

        bare = _bare_training(stage.training, loss, kept)
        speed = compared("classifier step", sum(len(x) for x, _ in kept), stage.step, bare, self.settings)
        self._finished(stage, "classifier")
        return speed

    def segmenter(self) -> Speed:
        """Measure an epoch of a segmentation network."""
        self.progress("segmenter step")
        raw = {**self._shared(), "crop": max(33, round(5 / 7 * self.settings.crop) + 1)}  # 321 for 448
        params = SegmenterParams.model_validate(raw)
        view, settings = self.view, self.settings
        labels = PixelLabels(view.dataset, None)
        task = Task(params, view.dataset, view.train, (), labels, 0, settings.threads, settings.device)
        training = SegmenterTraining(task)
        kept = [
            (images.clone(), sent(truth, self.device).clone())
            for images, truth, _ in training.batches.epoch(0)
        ]

        def loss(images: Tensor, truth: Tensor) -> Tensor:
            pyramid = training.network(images)
            counts = [training.loss.counts(labels_at(truth, level.shape[2:])) for level in pyramid]
            return pyramid_loss(training.loss, pyramid, truth, torch.stack(counts))

        bare = _bare_training(training.training, loss, kept)
        images = sum(len(x) for x, _ in kept)
        speed = compared("segmenter step", images, training.learn, bare, self.settings)
        training.close()
        return speed

    def cams(self) -> Speed:
        """Measure CAMs of all photos, at all scales."""
        self.progress("CAMs")
        params = CamsParams.model_validate({"scales": self.settings.scales})
        stage = Cams(self._context(params, "cams", self.few, classifier="classifier"))
        sizes = list(working_sizes(self.few, stage.ids).values())
        batches: list[Tensor] = []
        for group in group_by_size(sizes):
            height, width = sizes[group[0]]
            most = images_at_once(
                height, width, scales=params.scales, flip=True, size=None, device=self.device
            )
            counts = [len(group[start : start + most]) for start in range(0, len(group), most)]
            shapes = [scaled_size(height, width, scale) for scale in params.scales]
            batches += [self._photos(2 * count, *shape) for count in counts for shape in shapes]

        def bare() -> None:
            with torch.inference_mode(), applied(stage.source, self.device):
                for x in batches:
                    stage.source.cam(x)

        speed = compared("CAMs", len(stage.ids), _all_steps(stage), bare, self.settings)
        self._finished(stage, "cams")
        return speed

    def features(self) -> Speed:
        """Measure pooled features of all photos."""
        self.progress("features")
        stage = Features(self._context(FeaturesParams(), "features", self.few, classifier="classifier"))
        sizes = working_sizes(self.few, self.few.train)
        stage.shown = {id: stage._long_side(id, *size) for id, size in sizes.items()}
        together = stage._together(sizes)
        batches = [self._photos(len(ids), *sizes[ids[0]]) for ids in together]

        def bare() -> None:
            with torch.inference_mode(), applied(stage.network, self.device):
                for x in batches:
                    stage._network(x)

        return compared("features", len(sizes), _all_steps(stage), bare, self.settings)

    def walk(self) -> Speed:
        """Measure walks over the affinities of a network that has learnt nothing."""
        self.progress("walk")
        params = AffinityParams.model_validate(
            {name: self._shared()[name] for name in ("backbone", "weights")}
        )
        network: nn.Module = affinity_stage.build_affinity(params)
        (folder := self.folder / "affinity").mkdir()
        tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
        save_file(tensors, folder / affinity_stage.WEIGHTS)
        write_json(folder / affinity_stage.ABOUT, {"params": params.model_dump(mode="json")})
        exponents = (16.0,)
        stage = Walk(
            self._context(
                WalkStageParams(background_exponents=exponents),
                "walk",
                self.few,
                cams="cams",
                affinity="affinity",
            )
        )
        walker = stage.walker
        assert walker is not None
        photos = [stage._read(id) for id in stage.ids if len(stage.cams.keys(id))]
        shown = [(walker._photo(photo), maps.astype("float32")) for photo, maps in photos]

        def bare() -> None:
            with torch.inference_mode():
                for photo, maps in shown:
                    walker._walk(photo, maps, exponents)

        return compared("walk", len(shown), _all_steps(stage), bare, self.settings)

    def _photos(self, *shape: int) -> Tensor:
        """Return photos float32[count, 3, height, width] on the device for bare networks to look at, the same
        whenever so many of a size are asked for."""
        count, height, width = shape
        if shape not in self.shown:
            x = torch.rand(count, 3, height, width).to(self.device)
            self.shown[shape] = x.contiguous(memory_format=torch.channels_last) if x.is_cuda else x
        return self.shown[shape]


def _all_steps(stage: Any) -> Callable[[], None]:
    """Return what makes all of a stage's steps, each time from the first."""

    def run() -> None:
        stage.done = 0
        while stage.done < stage.steps:
            stage.step()

    return run


def _bare_training(
    training: Training, loss: Callable[[Tensor, Tensor], Tensor], kept: list[tuple[Tensor, Tensor]]
) -> Callable[[], None]:
    """Return an epoch of a network over tensors that lie on its device, with torch's own optimiser."""
    optimiser, network = training.optimiser, training.network
    scaler = torch.amp.GradScaler(training.device.type, enabled=training.half)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in kept:
            yield images.contiguous(memory_format=torch.channels_last), labels

    def run() -> None:
        network.train()
        with fixed_sizes(training.device):
            for images, labels in batches():
                optimiser.zero_grad(set_to_none=True)
                with training.autocast():
                    value = loss(images, labels)
                torch.autograd.backward(scaler.scale(value))
                scaler.step(optimiser)
                scaler.update()

    return run
