"""From classifier parameters to a network and back from an artefact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from wsss.config.params.stages import ClassifierParams, classifier_params
from wsss.data.readers.voc import VOC_CLASSES
from wsss.errors import ConfigError, Problem, StageError, nearest
from wsss.files import read_json
from wsss.models import CamNetwork, backbone_class, create_backbone
from wsss.models.computing.precision import Precision, placed
from wsss.models.pretrained.layouts import published_head
from wsss.stages.kinds.training.files import CLASSIFIER_ABOUT, CLASSIFIER_WEIGHTS


def mixing_taps(params: ClassifierParams) -> tuple[str, ...]:
    """Return where features may be mixed, `input` first.

    After the last tap comes the pooling; mixing there is left out of `all`, as by the method's authors.
    """
    if params.mixing.taps == "all":
        return ("input", *(tap.name for tap in backbone_class(params.backbone).taps[:-1]))
    return params.mixing.taps


def build_network(
    params: ClassifierParams, classes: int, subcategories: int = 0, *, weights: str | None = None
) -> CamNetwork:
    """Return the CAM network of these parameters with freshly drawn head weights.

    Args:
        params: name the backbone, its weights and the dropout.
        classes: outputs of the class head.
        subcategories: outputs of the second head, 0 for none.
        weights: of the backbone, instead of those in `params`.
    """
    backbone = create_backbone(params.backbone, params.weights if weights is None else weights)
    head = "" if params.class_maps == "backbone" else params.class_maps
    return CamNetwork(backbone, classes, subcategories, params.dropout, head)


def head_of_weights(params: ClassifierParams, classes: Sequence[str]) -> tuple[torch.Tensor, str]:
    """Return the head float32[C, D, 1, 1] of the published classifier in `weights`, its rows in the order of
    `classes`, and the layout's name.

    Published classifiers know PASCAL VOC's classes, in VOC's order. Raises `ConfigError` for other classes,
    and for a file without a head that fits.
    """
    unknown = [name for name in classes if name not in VOC_CLASSES]
    if unknown:
        message = f"is a head of PASCAL VOC's classes, which have no {unknown[0]!r}"
        raise ConfigError(Problem("head", message, nearest(unknown[0], VOC_CLASSES)))
    channels = backbone_class(params.backbone).channels
    head, layout = published_head(params.weights, params.backbone, channels, len(VOC_CLASSES))
    return head[[VOC_CLASSES.index(name) for name in classes]], layout.name


def classifier_of(about: Mapping[str, Any]) -> CamNetwork:
    """Return the untrained network that a classifier artefact's JSON describes."""
    params = classifier_params().model_validate(about["params"])
    network = build_network(params, len(about["classes"]), about["subcategories"], weights="none")
    network.precision = Precision.of(params)
    return network


def load_classifier(folder: Path, device: torch.device | str = "cpu") -> CamNetwork:
    """Return the trained network that a classifier artefact holds, on a device and in evaluation mode."""
    network = classifier_of(read_json(folder / CLASSIFIER_ABOUT))
    network.load_state_dict(load_file(folder / CLASSIFIER_WEIGHTS))
    to_channels_last(network)
    return placed(network, device, network.precision).eval()


def subcategory_parents(folder: Path) -> list[int]:
    """Return the class of each sub-category of a classifier artefact.

    Raises `StageError` when it was trained without any.
    """
    parents: list[int] = read_json(folder / CLASSIFIER_ABOUT)["parent"]
    if not parents:
        raise StageError(
            "`head: subcategories` needs a classifier with sub-categories, but this one was trained without"
        )
    return parents


def to_channels_last(network: torch.nn.Module) -> None:
    """Put 4-d parameters into the memory layout in which convolutions are fastest."""
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
