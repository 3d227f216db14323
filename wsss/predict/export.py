"""A network as one file that needs none of this package: a `torch.export` program, or ONNX.

Both map float32[B, 3, H, W], RGB in [0, 1] normalised with `mean` and `std`, to logits
float32[B, C + 1, h, w] on a grid of stride 8; batch, height and width are free. What a user must know of
the network is in the file: a program's `extra/wsss.json`, an ONNX model's metadata `wsss.json`.

Networks that pad as TensorFlow does pad by amounts that depend on the picture's size, which a program with
free sizes can't hold. Theirs take sizes that are multiples of the stride: there the amounts are constants.
"""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn.functional import pad

from wsss.errors import ConfigError, PreflightError, Problem, StageError
from wsss.files import write_atomic
from wsss.models.backbones.torchvision_cpu import timm
from wsss.predict.trained.program import ABOUT, read_program
from wsss.stages.kinds.training.files import SEGMENTER_ABOUT, SEGMENTER_WEIGHTS
from wsss.stages.training.segmentation_network import SegmentationNetwork

FORMAT = 1
TRACED = (2, 3, 161, 209)
CHECKED = ((1, 3, 128, 192), (3, 3, 231, 150))
TOLERANCE = 1e-4
ENDINGS = (".pt2", ".onnx")
CARD = "README.md"
_LAYERS: Any = timm.layers  # its types don't say what it exports
Conv2dSame: type[nn.Conv2d] = _LAYERS.Conv2dSame
Logits = Callable[[Tensor], Tensor]


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
    """Write a network, on the CPU and in evaluation mode, as one file, whole or not at all.

    The file is read back, by torch or by ONNX Runtime, and compared with the network at sizes other than
    the traced one. Raises `ConfigError` for another ending or a file that exists, `PreflightError` where
    ONNX's packages are not installed, and `StageError` when logits differ by more than 1e-4: nothing is
    written then.

    Args:
        network: any trained segmentation network.
        path: ends in .pt2 or .onnx.
        id: what results call the model.
        force: whether to replace an old file.
    """
    if path.suffix not in ENDINGS:
        message = f"ends in {path.suffix!r}, but a program's file ends in .pt2 or .onnx"
        raise ConfigError(Problem(str(path), message))
    if path.exists() and not force:
        raise ConfigError(Problem(str(path), "exists already", "--force writes over it"))
    if path.suffix == ".onnx":
        check_onnx()
    logits = _Logits(network).eval()
    free = _free_sizes(logits.multiple)
    traced = _at_multiples(TRACED, logits.multiple)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        example = torch.rand(traced, generator=generator)
        program = torch.export.export(logits, (example,), dynamic_shapes=(free,))
    about = _about(network, id, traced, logits.multiple)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.stem}.unchecked{path.suffix}")
    try:
        written = (_write_onnx if path.suffix == ".onnx" else _write_program)(program, aside, about)
        found = _compare(network, written, logits.multiple, generator)
        if not found.largest <= TOLERANCE:
            message = f"its logits differ by {found.largest:.1e}, but may by {TOLERANCE:.0e} at most"
            raise StageError(Problem(str(path), f"was not written: {message}"))
        write_atomic(path, aside.read_bytes())
    finally:
        aside.unlink(missing_ok=True)
    return found


def export_folder(files: tuple[Path, Path], card: str, folder: Path, *, force: bool = False) -> None:
    """Write a folder that can be pushed to a model hub as it is: weights, what they are, a model card.

    Raises `ConfigError` when one of its files exists.

    Args:
        files: the weights, as .safetensors, and the JSON that says what they are.
        card: Markdown.
        folder: it is made; other files in it stay.
        force: whether to replace old files.
    """
    contents = {
        SEGMENTER_WEIGHTS: files[0].read_bytes(),
        SEGMENTER_ABOUT: files[1].read_bytes(),
        CARD: card.encode(),
    }
    there = [Problem(str(folder / name), "exists already") for name in contents if (folder / name).exists()]
    if there and not force:
        raise ConfigError([*there, Problem("", "--force writes over them")])
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        write_atomic(folder / name, content)


def check_onnx() -> None:
    """Raise `PreflightError` unless the packages that write and check ONNX are installed."""
    missing = []
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            import_module(name)
        except ImportError:
            missing.append(name)
    if missing:
        message = f"needs {', '.join(missing)}, which {'are' if len(missing) > 1 else 'is'} not installed"
        raise PreflightError(Problem("ONNX", message, "pip install -c constraints.txt -e '.[onnx]'"))


def _about(network: SegmentationNetwork, id: str, traced: tuple[int, ...], multiple: int) -> dict[str, Any]:
    return {
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
        "multiple": multiple,
        "padding": "zeros (the mean colour) below and at the right, to multiples; crop the result",
    }


def _write_program(program: ExportedProgram, path: Path, about: dict[str, Any]) -> Logits:
    program.example_inputs = None  # the file is smaller, and without anything pickled
    torch.export.save(program, path, extra_files={ABOUT: json.dumps(about, indent=1)})
    network = read_program(path)
    return network.logits


def _write_onnx(program: ExportedProgram, path: Path, about: dict[str, Any]) -> Logits:
    onnxruntime = import_module("onnxruntime")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's of itself
        model = torch.onnx.export(
            program, dynamo=True, input_names=["image"], output_names=["logits"], verbose=False
        )
    assert model is not None
    model.model.metadata_props[ABOUT] = json.dumps(about)
    model.save(str(path), external_data=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(["logits"], {"image": x.numpy()})[0])


def _free_sizes(multiple: int) -> dict[int, Any]:
    if multiple == 1:
        return {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    return {0: Dim("batch"), 2: multiple * Dim("height"), 3: multiple * Dim("width")}


def _at_multiples(shape: tuple[int, ...], multiple: int) -> tuple[int, ...]:
    """Return (B, 3, H, W) with H and W rounded up."""
    return *shape[:2], *(-(-length // multiple) * multiple for length in shape[2:])


def _compare(
    network: SegmentationNetwork, written: Logits, multiple: int, generator: torch.Generator
) -> Exported:
    differences: dict[tuple[int, ...], float] = {}
    with torch.inference_mode():
        for sizes in CHECKED:
            shape = _at_multiples(sizes, multiple)
            x = torch.randn(shape, generator=generator)
            ours, theirs = network.logits(x), written(x)
            same = ours.shape == theirs.shape
            differences[shape] = float((ours - theirs).abs().max()) if same else float("inf")
    return Exported(differences)
