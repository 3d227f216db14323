"""A network as one file that needs none of this package: a `torch.export` program, height and width free.

The program maps float32[B, 3, H, W], RGB in [0, 1] normalised with `mean` and `std`, to logits
float32[B, C + 1, h, w] on a grid of stride 8. What a user must know of it is in the file, as
`extra/wsss.json`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn
from torch.export import Dim
from torch.nn.functional import conv2d, pad

from wsss.errors import ConfigError, Problem, StageError
from wsss.files import write_atomic
from wsss.models import DeepLab
from wsss.models.deeplab import scaled
from wsss.predict.untrusted import checked_archive

ABOUT = "wsss.json"
FORMAT = 1
TRACED = (2, 3, 161, 209)
CHECKED = ((1, 3, 128, 192), (3, 3, 231, 150))
TOLERANCE = 1e-4


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

    def pyramid(self, x: Tensor, scales: Sequence[float]) -> list[Tensor]:
        """Return the logits float32[B, C + 1, h, w] at every scale, each on a grid of its own."""
        return [self.program(scaled(x, scale)) for scale in scales]


class _SameConv(nn.Conv2d):
    """timm's `Conv2dSame` with its padding in whole numbers: programs hold no rounding of free sizes."""

    def forward(self, x: Tensor) -> Tensor:
        pads: list[Any] = []
        for axis in (1, 0):
            length, stride = x.shape[2 + axis], self.stride[axis]
            reach = self.dilation[axis] * (self.kernel_size[axis] - 1) + 1
            # As (⌈length / stride⌉ − 1) · stride + reach − length; kernels reach as far as they stride.
            missing = reach - stride + (-length) % stride
            pads += [missing // 2, missing - missing // 2]
        return conv2d(pad(x, pads), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class _Logits(nn.Module):
    def __init__(self, network: DeepLab) -> None:
        super().__init__()
        self.network = copy.deepcopy(network)
        for module in self.network.modules():
            if isinstance(module, Conv2dSame):
                module.__class__ = _SameConv  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        # Whatever layout photos come in, the program sees one.
        return self.network.logits(x.contiguous())


@dataclass(frozen=True)
class Exported:
    """What came of an export: how far its logits are from the network's, at each (B, 3, H, W)."""

    differences: dict[tuple[int, ...], float]

    @property
    def largest(self) -> float:
        return max(self.differences.values())


def export_network(network: DeepLab, path: Path, *, id: str, force: bool = False) -> Exported:
    """Write a network, on the CPU and in evaluation mode, as a .pt2 file, whole or not at all.

    The file is read back and compared with the network at sizes other than the traced one. Raises
    `ConfigError` for another ending or a file that exists, and `StageError` when logits differ by more
    than 1e-4: nothing is written then.
    """
    if path.suffix != ".pt2":
        raise ConfigError(Problem(str(path), f"ends in {path.suffix!r}, but a program's file ends in .pt2"))
    if path.exists() and not force:
        raise ConfigError(Problem(str(path), "exists already", "--force writes over it"))
    free = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        example = torch.rand(TRACED, generator=generator)
        program = torch.export.export(_Logits(network).eval(), (example,), dynamic_shapes=(free,))
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
        "stride": network.backbone.stride,
        "traced": list(TRACED),
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


def _compare(network: DeepLab, program: ExportedNetwork, generator: torch.Generator) -> Exported:
    differences: dict[tuple[int, ...], float] = {}
    with torch.inference_mode():
        for shape in CHECKED:
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
