"""What is measured, and how time is taken where a GPU works on after the CPU has gone on."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from wsss.config import DataSpec, SampleSpec, SplitSpec
from wsss.data.view import DataView, open_data

TRAINING = 0.9
"""The share of the bare network's speed that a training keeps."""
OUTSIDE = 0.05
"""The share of an epoch, on a CPU, that may be spent outside of the network."""


@dataclass(frozen=True)
class Settings:
    """What the speed is measured on.

    Args:
        device: a torch device.
        threads: CPUs of the trial: one feeds the network, the others decode.
        backbone: its name.
        weights: "package" or "none"; the speed doesn't depend on them, unless numbers get too small.
        crop: side of the crops of a training, in pixels.
        batch: images of a batch.
        images: that a training learns from.
        looked: of those, how many trained networks look at.
        photo: side of a drawn photo, in pixels, where there is no `root`.
        rounds: how often each is measured; the median counts.
        scales: of CAMs.
        root: a devkit of VOC.
    """

    device: str
    threads: int
    backbone: str = "resnet50"
    weights: str = "none"
    crop: int = 448
    batch: int = 16
    images: int = 512
    looked: int = 64
    photo: int = 448
    rounds: int = 3
    scales: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0)
    root: Path | None = None


def short_settings(device: str, threads: int) -> Settings:
    """Return what takes a minute: published sizes on a GPU, and as little as shows the ratios on a CPU."""
    if device == "cpu":
        return Settings(
            device, threads, "efficientnet_lite0", "package", crop=224, batch=8, images=16, looked=16,
            photo=256, rounds=2, scales=(0.5, 1.0),
        )  # fmt: skip
    return Settings(device, threads)


def opened(settings: Settings, folder: Path) -> DataView:
    """Return the photos to work on, which are drawn into a folder where there is no devkit."""
    halves: dict[str, Any] = {
        "select": SplitSpec(split="train", half="a"),
        "report": SplitSpec(split="train", half="b"),
    }
    if settings.root is not None:
        spec = DataSpec(root=settings.root, limit=settings.images, holdout=0, **halves)
    else:
        sample = SampleSpec(train=settings.images, val=1, size=settings.photo)
        spec = DataSpec(dataset="sample", sample=sample, holdout=0, **halves)
    return open_data(spec, storage=folder, workers=1)


@dataclass(frozen=True)
class Speed:
    """Images a second of one step: a stage's, and the bare network's on tensors that lie on the device.

    `ours` includes reading, augmenting, losses, optimiser, and writing; `bare` only the network, forward, and
    in a training backward with one step of the optimiser. `share` is the median of their ratio.
    """

    step: str
    ours: float
    bare: float
    share: float


def seconds_of(run: Callable[[], object], device: str) -> float:
    """Return how long a call takes until the device has done all that it was given: on a CPU, which other
    programs share, the seconds of this process, on a GPU those of the clock."""
    clock = cpu_clock if device == "cpu" else time.perf_counter
    _settle(device)
    began = clock()
    run()
    _settle(device)
    return clock() - began


cpu_clock = time.process_time
"""Seconds that the threads of this process have computed, together."""


def compared(
    step: str,
    images: int,
    ours: Callable[[], object],
    bare: Callable[[], object],
    settings: Settings,
) -> Speed:
    """Run both in turn, once to warm up, and return their speeds.

    Args:
        step: names what is done.
        images: that each call treats.
        ours: the stage's work.
        bare: the network's.
        settings: say on what and how often.
    """
    times = [
        (seconds_of(ours, settings.device), seconds_of(bare, settings.device))
        for _ in range(settings.rounds + 1)
    ][1:]
    mine, theirs = (images / statistics.median(column) for column in zip(*times, strict=True))
    return Speed(step, mine, theirs, statistics.median(bare_one / own for own, bare_one in times))


def _settle(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()
