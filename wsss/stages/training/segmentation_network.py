"""From segmenter parameters to a network, and back from an artefact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from wsss.config.params.pixel_head import PixelHeadParams
from wsss.config.params.stages import SegmenterParams
from wsss.files import read_json
from wsss.models import CamNetwork, DeepLab, create_backbone, weights_identity
from wsss.models.computing.precision import Precision, placed
from wsss.models.networks.pixel_head import PixelHeadNetwork
from wsss.stages.kinds.training.files import SEGMENTER_ABOUT, SEGMENTER_WEIGHTS
from wsss.stages.training.network import classifier_of, to_channels_last

PIXEL_HEAD = "pixel_head"
"""What the JSON of a pixel head calls its network; that of a DeepLab has no name for it."""
SegmentationNetwork = DeepLab | PixelHeadNetwork


def describe_weights(params: SegmenterParams) -> str:
    """Return what a network begins with, in words for every table: what that has learnt from, and where it
    comes from. Raises `ConfigError` for weights that aren't there."""
    identity = weights_identity(params.backbone, params.weights)
    if params.weights == "none":
        return "none (random)"
    kind, _, source = identity.partition(":")
    if kind in ("package", "download"):
        return f"imagenet ({kind} {source})"
    return f"{params.pretraining} (file {Path(params.weights).name}, {identity})"


def build_segmenter(
    params: SegmenterParams, classes: Sequence[str], *, weights: str | None = None
) -> DeepLab:
    """Return the network of these parameters, its head freshly drawn.

    Args:
        params: name the backbone, its weights, the scales and what is frozen.
        classes: names, without the background.
        weights: of the backbone, instead of those in `params`.
    """
    backbone = create_backbone(params.backbone, params.weights if weights is None else weights, dense=True)
    network = DeepLab(backbone, classes, params.scales)
    network.freeze(params.freeze)
    to_channels_last(network)
    return network


def build_pixel_head(params: PixelHeadParams, cam: CamNetwork, classes: Sequence[str]) -> PixelHeadNetwork:
    """Return the network of these parameters, its head freshly drawn.

    Args:
        params: of the head.
        cam: the classifier whose frozen features it reads.
        classes: names, without the background.
    """
    return PixelHeadNetwork(
        cam,
        classes,
        size=params.size,
        scales=params.scales,
        foreground=params.learns == "foreground",
        channels=params.channels,
        dropout=params.dropout,
    )


def network_of(about: Mapping[str, Any]) -> SegmentationNetwork:
    """Return the untrained network that a segmenter artefact's JSON describes, in evaluation mode.

    Raises `KeyError`, `TypeError`, `ValidationError` or `ConfigError` for another description.
    """
    if about.get("network") == PIXEL_HEAD:
        params = PixelHeadParams.model_validate(about["params"])
        cam = classifier_of(about["classifier"])
        head = build_pixel_head(params, cam, about["classes"])
        head.precision = cam.precision
        return head.eval()
    trained = SegmenterParams.model_validate(about["params"])
    network = build_segmenter(trained, about["classes"], weights="none")
    network.precision = Precision.of(trained)
    return network.eval()


def load_segmenter(folder: Path, device: torch.device | str = "cpu") -> SegmentationNetwork:
    """Return the trained network that a segmenter artefact holds, on a device and in evaluation mode."""
    network = network_of(read_json(folder / SEGMENTER_ABOUT))
    network.load_state_dict(load_file(folder / SEGMENTER_WEIGHTS))
    return placed(network, device, network.precision).eval()
