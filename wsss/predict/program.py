"""A network as one file that needs none of this package: a `torch.export` program, height and width free.

The program maps float32[B, 3, H, W], RGB in [0, 1] normalised with `mean` and `std`, to logits
float32[B, C + 1, h, w] on a grid of stride 8. What a user must know of it is in the file, as
`extra/wsss.json`.

Networks that pad as TensorFlow does pad by amounts that depend on the picture's size, which a program with
free sizes can't hold. Theirs take sizes that are multiples of the stride: there the amounts are constants.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn.functional import interpolate, pad

from wsss.errors import ConfigError, Problem, StageError
from wsss.files import write_atomic
from wsss.models.backbones.torchvision_cpu import timm
from wsss.models.deeplab import scaled
from wsss.models.pixel_head import fitted
from wsss.predict.untrusted import checked_archive
from wsss.stages.training.segmentation_network import SegmentationNetwork

ABOUT = "wsss.json"
FORMAT = 1
TRACED = (2, 3, 161, 209)
CHECKED = ((1, 3, 128, 192), (3, 3, 231, 150))
TOLERANCE = 1e-4
_LAYERS: Any = timm.layers  # its types don't say what it exports
Conv2dSame: type[nn.Conv2d] = _LAYERS.Conv2dSame


class ExportedNetwork(nn.Module):
    """A program read back, used like the network it was made from."""

    def __init__(self, program: nn.Module, about: dict[str, Any]) -> None:
        super().__init__()
        self.program = program
        self.classes = tuple(map(str, about["classes"]))
        self.scales = tuple(map(float, about["scales"]))
        mean, std = about["mean"], about["std"]
        self.mean = (float(mean[0]), float(mean[1]), float(mean[2]))
        self.std = (float(std[0]), float(std[1]), float(std[2]))
        self.multiple = int(about["multiple"])
        self.size: int | None = None if about.get("size") is None else int(about["size"])

    def pyramid(self, x: Tensor, scales: Sequence[float]) -> list[Tensor]:
        """Return the logits float32[B, C + 1, h, w] at every scale, each on a grid of its own.

        At a size that isn't a multiple of `multiple` the picture is padded and the logits come pixel by
        pixel, h × w being the picture's own size.
        """
        return [self._logits(self._shown(x, scale)) for scale in scales]

    def _shown(self, x: Tensor, scale: float) -> Tensor:
        return scaled(x, scale) if self.size is None else fitted(x, self.size, scale)

    def _logits(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        below, right = -height % self.multiple, -width % self.multiple
        if not below and not right:
            logits: Tensor = self.program(x)
            return logits
        logits = self.program(pad(x, (0, right, 0, below)))
        grown = interpolate(logits, (height + below, width + right), mode="bilinear", align_corners=False)
        return grown[:, :, :height, :width]


class _PaddedConv(nn.Conv2d):
    """A `Conv2dSame` for lengths that are multiples of its stride, where it pads by constant amounts."""

    pads: list[int]

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self._conv_forward(pad(x, self.pads), self.weight, self.bias)
        return result

    @classmethod
    def replace(cls, conv: nn.Conv2d) -> None:
        """Change a `Conv2dSame` in place."""
        pads = []
        for axis in (1, 0):
            # (⌈length / stride⌉ − 1) · stride + reach − length, which may not be below 0.
            reach = conv.dilation[axis] * (conv.kernel_size[axis] - 1) + 1
            missing = max(0, reach - conv.stride[axis])
            pads += [missing // 2, missing - missing // 2]
        conv.__class__ = cls
        padded = cast(_PaddedConv, conv)
        padded.pads, padded.padding = pads, (0, 0)


class _Logits(nn.Module):
    """A copy of a network. Sizes that it takes are multiples of `multiple`."""

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__()
        self.network = copy.deepcopy(network)
        same = [module for module in self.network.modules() if isinstance(module, Conv2dSame)]
        for module in same:
            _PaddedConv.replace(module)
        self.multiple = network.backbone.stride if same else 1

    def forward(self, x: Tensor) -> Tensor:
        # Photos come in several memory layouts; the program sees one.
        return self.network.logits(x.contiguous())


@dataclass(frozen=True)
class Exported:
    """How far the logits of an export are from the network's, at each (B, 3, H, W)."""

    differences: dict[tuple[int, ...], float]

    @property
    def largest(self) -> float:
        return max(self.differences.values())


def export_network(network: SegmentationNetwork, path: Path, *, id: str, force: bool = False) -> Exported:
    """Write a network, on the CPU and in evaluation mode, as a .pt2 file, whole or not at all.

    The file is read back and compared with the network at sizes other than the traced one. Raises
    `ConfigError` for another ending or a file that exists, and `StageError` when logits differ by more
    than 1e-4: nothing is written then.

    Args:
        network: any trained segmentation network.
        path: ends in .pt2.
        id: what results call the model.
        force: whether to replace an old file.
    """
    if path.suffix != ".pt2":
        raise ConfigError(Problem(str(path), f"ends in {path.suffix!r}, but a program's file ends in .pt2"))
    if path.exists() and not force:
        raise ConfigError(Problem(str(path), "exists already", "--force writes over it"))
    logits = _Logits(network).eval()
    free = _free_sizes(logits.multiple)
    traced = _at_multiples(TRACED, logits.multiple)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        example = torch.rand(traced, generator=generator)
        program = torch.export.export(logits, (example,), dynamic_shapes=(free,))
    program.example_inputs = None  # the file is smaller, and without anything pickled
    about = {
        "format": FORMAT,
        "model": id,
        "classes": list(network.classes),
        "labels": ["background", *network.classes],
        "input": "float32[B, 3, H, W], RGB in [0, 1], minus mean, divided by std",
        "output": "logits float32[B, C + 1, h, w], the background first; resize them to H × W",
        "mean": list(network.mean),
        "std": list(network.std),
        "scales": list(network.scales),
        "size": getattr(network, "size", None),
        "stride": network.backbone.stride,
        "traced": list(traced),
        "multiple": logits.multiple,
        "padding": "zeros (the mean colour) below and at the right, to multiples; crop the result",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.stem}.unchecked.pt2")
    try:
        torch.export.save(program, aside, extra_files={ABOUT: json.dumps(about, indent=1)})
        found = _compare(network, read_program(aside), generator)
        if not found.largest <= TOLERANCE:
            message = f"its logits differ by {found.largest:.1e}, but may by {TOLERANCE:.0e} at most"
            raise StageError(Problem(str(path), f"was not written: {message}"))
        write_atomic(path, aside.read_bytes())
    finally:
        aside.unlink(missing_ok=True)
    return found


def _free_sizes(multiple: int) -> dict[int, Any]:
    if multiple == 1:
        return {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    return {0: Dim("batch"), 2: multiple * Dim("height"), 3: multiple * Dim("width")}


def _at_multiples(shape: tuple[int, ...], multiple: int) -> tuple[int, ...]:
    """Return (B, 3, H, W) with H and W rounded up."""
    return *shape[:2], *(-(-length // multiple) * multiple for length in shape[2:])


def _compare(network: SegmentationNetwork, program: ExportedNetwork, generator: torch.Generator) -> Exported:
    differences: dict[tuple[int, ...], float] = {}
    with torch.inference_mode():
        for sizes in CHECKED:
            shape = _at_multiples(sizes, program.multiple)
            x = torch.randn(shape, generator=generator)
            ours, theirs = network.logits(x), program.pyramid(x, [1.0])[0]
            same = ours.shape == theirs.shape
            differences[shape] = float((ours - theirs).abs().max()) if same else float("inf")
    return Exported(differences)


def read_program(path: Path) -> ExportedNetwork:
    """Return the network of a .pt2 file that `export_network` wrote.

    The file is looked through first: one that holds anything but tensors and arithmetic on them is
    refused, as reading it could do anything. Raises `ConfigError`.
    """
    content = checked_archive(path, ABOUT)
    try:
        about = json.loads(content)
        with path.open("rb") as file:
            program = torch.export.load(file)
        return ExportedNetwork(program.module(), about)
    except Exception as error:  # torch raises what it likes for a file of another version
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        message = f"can't be read as a program of torch {torch.__version__}: {reason}"
        raise ConfigError(Problem(str(path), message, "export it again")) from error
