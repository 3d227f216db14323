"""A trained network, ready for photos: from an artefact, from a file, or from an exported program."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from wsss.errors import ConfigError, Problem, WsssError, first_line
from wsss.files import read_json, sha256_file
from wsss.masks.segmentation import PyramidNetwork
from wsss.models import CamNetwork
from wsss.models.computing.folding import fold_norms
from wsss.models.computing.precision import Precision, placed
from wsss.models.pretrained.tensor_files import number_fault
from wsss.predict.trained.program import ExportedNetwork, read_program
from wsss.stages.kinds.training.files import CLASSIFIER_ABOUT, SEGMENTER_ABOUT, SEGMENTER_WEIGHTS
from wsss.stages.training.network import load_classifier
from wsss.stages.training.segmentation_network import SegmentationNetwork, network_of


@dataclass(frozen=True)
class Model:
    """A network in evaluation mode. `id` is its artefact's key, or the SHA-256 of its file.

    `scales` are those it was trained at; `classes` the foreground ones, that at position k has id k + 1.
    """

    network: PyramidNetwork
    classes: tuple[str, ...]
    scales: tuple[float, ...]
    id: str

    @property
    def labels(self) -> int:
        """How many ids there are, the background included."""
        return len(self.classes) + 1

    @property
    def segmentation_network(self) -> SegmentationNetwork:
        """The network itself. Raises `ConfigError` for one that is a program already."""
        if not isinstance(self.network, SegmentationNetwork):
            raise ConfigError(
                Problem("--export", "needs a trained network, but --model is a program already")
            )
        return self.network

    def to(self, device: str) -> Model:
        """Move the network to a device and return itself."""
        assert isinstance(self.network, SegmentationNetwork | ExportedNetwork)
        placed(self.network, device, getattr(self.network, "precision", Precision()))
        return self


def load_artefact(folder: Path, key: str) -> Model:
    """Return the model of a segmenter artefact's folder."""
    return load_weights(folder / SEGMENTER_WEIGHTS, folder / SEGMENTER_ABOUT, id=key)


def load_file_model(path: Path) -> Model:
    """Return the model of a .safetensors file with its .json beside it, or of an exported .pt2 file.

    Raises `ConfigError` for anything else.
    """
    if path.suffix == ".pt2":
        network = read_program(path)
        return Model(network, network.classes, network.scales, sha256_file(path))
    if path.suffix != ".safetensors":
        message = f"is a {path.suffix or 'nameless'} file, but must be .safetensors or .pt2"
        raise ConfigError(Problem(str(path), message))
    return load_weights(path, path.with_suffix(".json"), id=sha256_file(path))


def classes_of(content: Any) -> tuple[str, ...]:
    """Return the classes that the JSON beside weights names. Raises `ValueError` where it names none."""
    classes = content.get("classes") if isinstance(content, dict) else None
    if not isinstance(classes, list) or not classes or not all(isinstance(one, str) for one in classes):
        raise ValueError("`classes` must be a list of their names")
    return tuple(classes)


def _reason(error: Exception) -> str:
    """Return in words why a description is none."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"params.{'.'.join(map(str, first['loc']))}: {first['msg']}" if first["loc"] else first["msg"]
    return f"it lacks {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]


def load_weights(weights: Path, about: Path, *, id: str) -> Model:
    """Return the model of a weights file and of the JSON file that says what network they belong to.

    Raises `ConfigError` when either is missing or is not of a segmentation network.

    Args:
        weights: a .safetensors file.
        about: JSON with `classes` and the segmenter's `params`.
        id: what results call the model.
    """
    content = read_json(about)
    if not weights.is_file():
        raise ConfigError(Problem(str(weights), "is no file" if weights.exists() else "file is missing"))
    if content is None:
        hint = "segmenter artefacts hold both files; keep them together"
        raise ConfigError(Problem(str(about), "is missing or no JSON, but says what the weights are", hint))
    try:
        classes = classes_of(content)
        network = network_of(content)
    except (KeyError, TypeError, ValueError, WsssError) as error:
        message = f"describes no segmentation network: {_reason(error)}"
        raise ConfigError(Problem(str(about), message)) from error
    try:
        tensors = load_file(weights)
        network.load_state_dict(tensors)
    except (RuntimeError, SafetensorError) as error:
        message = f"doesn't hold the weights of {network.backbone.name} with {len(classes)} classes"
        raise ConfigError(Problem(str(weights), message, first_line(error))) from error
    own = network.state_dict()
    for name, tensor in tensors.items():
        if fault := number_fault(tensor, own[name]):
            raise ConfigError(Problem(str(weights), f"{name} {fault}"))
    fold_norms(network.eval())
    return Model(network, classes, network.scales, id)


def load_classifier_folder(folder: Path) -> tuple[CamNetwork, tuple[str, ...]]:
    """Return the network of a classifier artefact's folder, in evaluation mode, and its classes.

    Raises `ConfigError` when either file is missing, damaged or of something else.
    """
    about = folder / CLASSIFIER_ABOUT
    try:
        classes = classes_of(read_json(about))
        return load_classifier(folder), classes
    except (KeyError, TypeError, ValueError, OSError, RuntimeError, SafetensorError, WsssError) as error:
        message = f"describes no classifier: {_reason(error)[:200]}"
        raise ConfigError(Problem(str(about), message)) from error
