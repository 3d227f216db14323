"""Importing torchvision next to a torch without CUDA.

Some torchvision builds bring a C++ library that was linked against CUDA. On a CPU build of torch
that library can't be loaded, its operators are never registered, and `import torchvision` ends with
"operator torchvision::nms does not exist". Models, transforms and data sets need none of them, so
declaring the two operators that the import looks for is enough. Where the real library loads, this
module changes nothing. `torchvision.io` and `torchvision.ops` stay unavailable in the repaired case:
photos are decoded with Pillow.

Everything here that needs torchvision, or timm which imports it, gets it from this module.
"""

from __future__ import annotations

import importlib.util
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import torch

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def library_file(folder: Path) -> Path | None:
    """Return torchvision's C++ library in its package folder, under any name that Python would load."""
    files = (folder / f"_C{suffix}" for suffix in EXTENSION_SUFFIXES)
    return next((file for file in files if file.is_file()), None)


def _library_loads() -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True  # the import itself will say what is wrong
    library = library_file(Path(spec.origin).parent)
    if library is None:
        return False
    operators: Any = torch.ops
    try:
        operators.load_library(str(library))
    except OSError:
        return False
    return True


def _declare_operators() -> Any:
    make: Any = torch.library.Library
    library = make("torchvision", "DEF")
    for schema in SCHEMAS:
        library.define(schema)
    return library


_library = None if _library_loads() else _declare_operators()
"""Kept alive: the declarations vanish with it."""

repaired = _library is not None

import timm  # noqa: E402
import torchvision  # noqa: E402
from torchvision.transforms import v2 as transforms  # noqa: E402

__all__ = ["repaired", "timm", "torchvision", "transforms"]
