"""Checkpoints as other projects publish them: which names are the trunk's, and which are a classifier's head.

Recognised by names alone. What a layout calls its trunk, less the prefix, has the names of a backbone here.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from wsss.errors import ConfigError, Problem
from wsss.models.pretrained.tensor_files import existing, number_fault, read_tensors


@dataclass(frozen=True)
class Layout:
    """How a published network names its tensors."""

    name: str
    backbone: str
    marks: tuple[str, ...]
    """Names that all have to be there."""
    ignore: tuple[str, ...]
    """Beginnings of names that are not the trunk's: heads, branches, layers stored a second time."""
    prefix: str = ""
    """What stands before the trunk's names."""
    head: str = ""
    """The name of the classifier's 1×1 convolution, float32[background + C, D, 1, 1]; empty without one."""
    background: int = 0
    """How many of the head's first channels are no class."""


TWICE = ("stage1.", "stage2.", "stage3.", "stage4.", "stage5.", "backbone.", "newly_added.")
LAYOUTS = (
    Layout(
        "IRN's CAM network",
        "resnet50",
        ("resnet50.conv1.weight", "classifier.weight"),
        (*TWICE, "classifier."),
        prefix="resnet50.",
        head="classifier.weight",
    ),
    Layout(
        "IRN's boundary network",
        "resnet50",
        ("resnet50.conv1.weight", "fc_edge1.0.weight"),
        (*TWICE, "fc_edge", "fc_dp", "edge_layers.", "dp_layers.", "path_indices", "ind_"),
        prefix="resnet50.",
    ),
    Layout(
        "SEAM's network",
        "resnet38",
        ("conv1a.weight", "fc8.weight", "f8_3.weight", "f9.weight"),
        ("fc8.", "f8_", "f9."),
        head="fc8.weight",
        background=1,
    ),
    Layout(
        "PSA's affinity network",
        "resnet38",
        ("conv1a.weight", "f8_3.weight", "f9.weight"),
        ("f8_", "f9."),
    ),
    Layout(
        "PSA's classifier",
        "resnet38",
        ("conv1a.weight", "fc8.weight"),
        ("fc8.",),
        head="fc8.weight",
    ),
)
"""The first whose marks are all there is taken."""


def layout_of(tensors: Mapping[str, Tensor]) -> Layout | None:
    """Return the layout of a checkpoint, None for one that is no known project's."""
    return next((one for one in LAYOUTS if all(mark in tensors for mark in one.marks)), None)


def trunk(tensors: dict[str, Tensor], source: str, backbone: str) -> tuple[dict[str, Tensor], str]:
    """Return the tensors of a checkpoint's trunk by the names of a backbone here, and a source that names the
    layout; what has no known layout is returned as it is.

    Raises `ConfigError` when the trunk is another backbone's.

    Args:
        tensors: of the checkpoint, by name.
        source: where they are from, for messages.
        backbone: the name of the one that wants them.
    """
    layout = layout_of(tensors)
    if layout is None:
        return tensors, source
    if layout.backbone != backbone:
        message = f"is {layout.name}, whose backbone is {layout.backbone}, but must fit {backbone}"
        raise ConfigError(Problem(source, message, f"say `backbone: {layout.backbone}`"))
    kept = {
        name.removeprefix(layout.prefix): tensor
        for name, tensor in tensors.items()
        if not name.startswith(layout.ignore)
    }
    return kept, f"{source} ({layout.name})"


def published_head(weights: str, backbone: str, channels: int, count: int) -> tuple[Tensor, Layout]:
    """Return the weights float32[`count`, `channels`, 1, 1] of a published classifier's head, its classes in
    their published order without background, and the layout they were found in.

    Raises `ConfigError` for a file of no known layout, one without a head, and a head of another shape.

    Args:
        weights: the checkpoint's path.
        backbone: the name of the one whose features the head reads.
        channels: of those features.
        count: of classes, without the background.
    """
    path = existing(weights).resolve()
    stat = path.stat()
    layout, head, biased = _head(path, stat.st_size, stat.st_mtime_ns)
    known = "; ".join(f"{one.name} ({one.head})" for one in LAYOUTS if one.head)
    hint = f"heads are known of {known}"
    if layout is None:
        raise ConfigError(Problem(str(path), "holds no published head: its layout is not known", hint))
    source = f"{path} ({layout.name})"
    if layout.backbone != backbone:
        message = f"has a trunk of {layout.backbone}, but must fit {backbone}"
        raise ConfigError(Problem(source, message, f"say `backbone: {layout.backbone}`"))
    if head is None:
        raise ConfigError(Problem(source, "holds no published head", hint))
    expected = (layout.background + count, channels, 1, 1)
    if tuple(head.shape) != expected:
        first = "background and " if layout.background else ""
        message = (
            f"{layout.head} is {tuple(head.shape)}, but must be {expected}: {first}VOC's {count} classes"
        )
        raise ConfigError(Problem(source, message))
    if biased:
        raise ConfigError(Problem(source, f"{layout.head} has a bias, but maps are made without one"))
    if fault := number_fault(head):
        raise ConfigError(Problem(source, f"{layout.head} {fault}"))
    return head[layout.background :].float(), layout


@functools.lru_cache(maxsize=8)
def _head(path: Path, size: int, modified: int) -> tuple[Layout | None, Tensor | None, bool]:
    """The head of a file, remembered as long as size and time of change stay the same."""
    tensors = read_tensors(path)
    layout = layout_of(tensors)
    if layout is None or not layout.head:
        return layout, None, False
    return layout, tensors[layout.head].clone(), layout.head.replace(".weight", ".bias") in tensors
