"""Files of tensors by name: read without running anything in them, and put into a network."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from wsss.errors import ConfigError, Problem, quoted

if TYPE_CHECKING:
    from torch import Tensor, nn

UNREADABLE = (
    pickle.UnpicklingError,
    SafetensorError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    AssertionError,
    struct.error,
)
"""What readers raise for bytes that aren't tensors: text, half a download, a pickled object."""
SHOWN = 3
SPECIAL = ("package", "download", "none")


def existing(weights: str) -> Path:
    """Return the file of that name. Raises `ConfigError` without one."""
    path = Path(weights)
    if not path.is_file():
        hint = f"a file, or one of {', '.join(SPECIAL)}"
        raise ConfigError(
            Problem("weights", f"is {weights!r}, but there is no such file", f"expected {hint}")
        )
    return path


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name. Raises `ConfigError` when it holds anything else."""
    import torch
    from safetensors.torch import load_file

    from wsss.models.backbones.mxnet_file import read_params

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix == ".params":
            return read_params(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        message = "is not a readable file of tensors (a whole pickled model is refused)"
        raise ConfigError(Problem(str(path), message)) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(
        isinstance(value, torch.Tensor) for value in content.values()
    ):
        held = [str(name) for name in content][:6] if isinstance(content, Mapping) else type(content).__name__
        message = f"must map names to tensors, itself or its `state_dict`, but holds {quoted(held)}"
        raise ConfigError(Problem(str(path), message))
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def load_tensors(
    module: nn.Module, tensors: Mapping[str, Tensor], source: str, ignore: tuple[str, ...]
) -> None:
    """Load tensors into a module by name.

    Raises `ConfigError` naming the first tensors that are missing, unexpected or of another shape, or whose
    numbers no network can use (`number_fault`).

    Args:
        module: takes them.
        tensors: by name.
        source: where they are from, for messages.
        ignore: beginnings of names to leave out.
    """
    own = module.state_dict()
    given = {name: value for name, value in tensors.items() if not name.startswith(ignore)}
    optional = {name for name in own if name.endswith("num_batches_tracked")}
    faults = [f"{name} is missing" for name in own if name not in given and name not in optional]
    faults += [f"{name} is not part of the network" for name in given if name not in own]
    faults += [
        f"{name} is {tuple(given[name].shape)}, but must be {tuple(value.shape)}"
        for name, value in own.items()
        if name in given and given[name].shape != value.shape
    ]
    faults += [
        f"{name} {fault}" for name in own if name in given and (fault := number_fault(given[name], own[name]))
    ]
    if faults:
        more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        message = f"doesn't fit {type(module).__name__}: {'; '.join(faults[:SHOWN])}{more}"
        raise ConfigError(Problem(source, message))
    module.load_state_dict({**{name: own[name] for name in optional}, **given})


def number_fault(given: Tensor, own: Tensor | None = None) -> str:
    """Return why a tensor's numbers can't be a network's, "" if they can: they are of a wrong kind, stored in
    another way than one after the other, or not finite. A training that diverged leaves such files.

    Args:
        given: the tensor.
        own: the one whose place it takes; by default any of floats.
    """
    import torch

    if given.layout is not torch.strided or given.is_quantized or given.is_meta:
        return "is a sparse, quantised or empty tensor, but must be a plain one"
    if own is not None and not own.is_floating_point():
        return ""  # a count of batches, which nothing depends on
    if not given.is_floating_point():
        return f"is {str(given.dtype).removeprefix('torch.')}, but must be of floats"
    return "" if bool(torch.isfinite(given).all()) else "holds NaN or infinite numbers"
