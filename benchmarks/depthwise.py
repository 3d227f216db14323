"""What dilated depthwise convolutions in phases, and folded normalisation, save on a CPU.

Torch's own convolutions and ours run in this process, in turn, on the same weights, images and threads:
the layer alone, a classifier's step, its CAMs, a segmenter's step and its look at a photo. Printed is the
ratio of CPU seconds, torch's over ours, the median over rounds; above 1 ours is quicker.

    python benchmarks/depthwise.py --threads 1 --rounds 5
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from wsss.models import CamNetwork, DeepLab, create_backbone
from wsss.models.computing.depthwise import PhasedConv2d, use_phases
from wsss.models.computing.folding import fold_norms

LAYERS = ((1152, 5, 2, 8, 14), (1152, 5, 4, 2, 41), (960, 3, 2, 8, 14), (960, 3, 4, 2, 41))
"""Channels, kernel, dilation, batch and side of the grid: of Lite0 and MobileNetV2 at stride 16 and 8."""


def torchs_own(network: nn.Module) -> nn.Module:
    """Return a copy of a network with torch's convolutions."""
    own = copy.deepcopy(network)
    for module in own.modules():
        if type(module) is PhasedConv2d:
            module.__class__ = nn.Conv2d
    return own


def compare(title: str, theirs: Callable[[], object], ours: Callable[[], object], rounds: int) -> None:
    """Run both in turn and print the ratio."""
    ratios, times = [], []
    for number in range(rounds + 1):
        seconds = []
        for run in (theirs, ours):
            began = time.process_time()
            run()
            seconds.append(time.process_time() - began)
        if number:  # the first round warms up
            ratios.append(seconds[0] / seconds[1])
            times.append(seconds)
    first, second = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(ratios)
    print(
        f"{title:44} torch {1e3 * first:7.1f} ms, ours {1e3 * second:7.1f} ms, ratio {ratio:.2f}", flush=True
    )


def step(network: nn.Module, x: torch.Tensor) -> Callable[[], None]:
    """Return a pass forward and back."""

    def run() -> None:
        network.zero_grad()
        output = network(x)
        result = output if isinstance(output, torch.Tensor) else output[0]
        result.square().mean().backward()

    return run


def look(network: Callable[[torch.Tensor], object], x: torch.Tensor) -> Callable[[], None]:
    """Return a pass without gradients."""

    def run() -> None:
        with torch.inference_mode():
            network(x)

    return run


def images(*shape: int) -> torch.Tensor:
    return torch.randn(shape).contiguous(memory_format=torch.channels_last)


def layers(rounds: int) -> None:
    for channels, size, dilation, batch, side in LAYERS:
        reach = dilation * (size // 2)
        own = nn.Conv2d(channels, channels, size, 1, reach, dilation, channels, bias=False)
        own.to(memory_format=torch.channels_last)
        phased = copy.deepcopy(own)
        use_phases(phased)
        x = images(batch, channels, side, side).requires_grad_()
        title = f"{channels} × {size}², dilation {dilation}, {batch} × {side}²"
        compare(f"{title}, step", step(own, x), step(phased, x), rounds)
        compare(f"{title}, look", look(own, x), look(phased, x), rounds)


def networks(name: str, rounds: int, batch: int) -> None:
    """Compare whole networks, as they are trained and as they are used."""
    # Of random weights, what comes out may be too small for ordinary floats, and slow therefore.
    weights = "package" if name == "efficientnet_lite0" else "none"
    classifier = CamNetwork(create_backbone(name, weights), 20).to(memory_format=torch.channels_last)
    classifier.backbone.freeze("default")
    own = torchs_own(classifier)
    x = images(batch, 3, 224, 224)
    compare(f"{name}, classifier, step", step(own, x), step(classifier, x), rounds)
    folded = copy.deepcopy(classifier.eval())
    fold_norms(folded)
    photos = images(2, 3, 375, 500)
    compare(f"{name}, CAMs, folded", look(own.eval().cam, photos), look(folded.cam, photos), rounds)
    segmenter = DeepLab(create_backbone(name, weights, dense=True), ["class"] * 20, [1.0])
    segmenter.to(memory_format=torch.channels_last)
    own_segmenter = torchs_own(segmenter)
    x = images(2, 3, 321, 321)
    compare(f"{name}, segmenter, step", step(own_segmenter, x), step(segmenter, x), rounds)
    folded_segmenter = copy.deepcopy(segmenter.eval())
    fold_norms(folded_segmenter)
    photo = images(1, 3, 375, 500)
    theirs, ours = look(own_segmenter.eval().logits, photo), look(folded_segmenter.logits, photo)
    compare(f"{name}, segmentation, folded", theirs, ours, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8, help="of the classifier's step")
    parser.add_argument("--backbones", nargs="*", default=["efficientnet_lite0", "mobilenet_v2"])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    layers(arguments.rounds)
    for name in arguments.backbones:
        networks(name, arguments.rounds, arguments.batch)


if __name__ == "__main__":
    main()
