"""How much of the bare model's speed a training epoch keeps.

Ours: one real epoch of the classifier stage: decoding, augmenting, mixing, regularisers, optimiser.
Baseline: the same network, optimiser and loss stepped over batches that already lie in memory.
Both run in this process, in turn, on the same number of threads; the ratio of images per second is
the median over rounds.

    python benchmarks/epoch_throughput.py --root /data/VOCdevkit/VOC2012 --images 128
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from wsss.config import load_study_text
from wsss.config.params.stages import ClassifierParams
from wsss.data.view import DataView, open_data
from wsss.methods.losses import classification_loss
from wsss.methods.optimiser import build_optimiser
from wsss.stages.contract import Context
from wsss.stages.training.classifier import Classifier
from wsss.stages.training.network import build_network

STUDY = """
name: benchmark
data: {{dataset: {dataset}, root: {root}, holdout: 0, limit: {images}, train: train,
       select: {{split: train, half: a}}, report: {{split: train, half: b}}}}
sweeps: [{{name: cam, stages: [classifier: {{method: cam}}, cams]}}]
"""


def ours(stage: Classifier) -> float:
    """Return the seconds of one epoch, without hold-out and rung scores."""
    began = time.perf_counter()
    generator = torch.Generator().manual_seed(0)
    stage.network.train()
    for images, labels, _ in stage.batches.epoch(stage.epoch):
        stage._batch(images, labels, generator)
    stage.epoch += 1
    return time.perf_counter() - began


def bare(params: ClassifierParams, batches: list[tuple[torch.Tensor, torch.Tensor]], device: str) -> float:
    """Return the seconds of stepping the bare model over batches in memory."""
    network = build_network(params, batches[0][1].shape[1])
    network.backbone.freeze(params.freeze)
    network.to(device, memory_format=torch.channels_last).train()
    optimiser = build_optimiser(
        network.backbone,
        network.heads,
        lr=params.lr,
        momentum=params.momentum,
        weight_decay=params.weight_decay,
        head_multiplier=10.0,
    )
    began = time.perf_counter()
    for images, labels in batches:
        optimiser.zero_grad(set_to_none=True)
        classification_loss(network(images).logits, labels).backward()
        optimiser.step()
    return time.perf_counter() - began


def open_view(arguments: argparse.Namespace, folder: Path) -> DataView:
    dataset = "voc" if arguments.root else "sample"
    text = STUDY.format(dataset=dataset, root=arguments.root or "null", images=arguments.images)
    study = load_study_text(text, source="benchmark", base=folder)
    return open_data(study.data, storage=folder, workers=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--root", type=Path, help="VOC devkit folder (default: the sample set)")
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--crop", type=int, default=224)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    params = ClassifierParams.model_validate(
        {
            "backbone": arguments.backbone,
            "crop": arguments.crop,
            "long_side": [256, 320],
            "rung": {"images": 0},
            "epochs": arguments.rounds + 1,
            "weights": "package" if arguments.backbone == "efficientnet_lite0" else "none",
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        view = open_view(arguments, Path(folder))
        context = Context(params, {}, view, 0, arguments.device, arguments.threads, Path(folder))
        stage = Classifier(context)
        memory = [
            (images.to(arguments.device, memory_format=torch.channels_last), labels.to(arguments.device))
            for images, labels, _ in stage.batches.epoch(0)
        ]
        images = sum(len(labels) for _, labels in memory)
        ratios, speeds = [], []
        for number in range(arguments.rounds + 1):
            mine, theirs = ours(stage), bare(params, memory, arguments.device)
            if number:  # the first round warms up
                ratios.append(theirs / mine)
                speeds.append((images / mine, images / theirs))
        stage.batches.close()
    speed = [statistics.median(column) for column in zip(*speeds, strict=True)]
    print(f"{images} images, crop {arguments.crop}, {arguments.threads} thread(s), {arguments.device}")
    print(f"epoch {speed[0]:.1f} images/s, bare model {speed[1]:.1f} images/s")
    print(f"ratio (median of {arguments.rounds}): {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
