"""The folder of a registered model, as MLflow's registry holds it: nothing in it is pickled.

    MLmodel             MLflow's own: it names the module that reads the rest
    model.json          what the network is, and whose
    classes.txt         background and classes, one a line, in the order of ids
    config.yaml         all parameters of the trial
    segmenter.safetensors, segmenter.json       or, without a segmentation network,
    classifier.safetensors, classifier.json

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wsss.errors import ConfigError, Problem
from wsss.files import read_json
from wsss.stages.kinds.training.files import (
    CLASSIFIER_ABOUT,
    CLASSIFIER_WEIGHTS,
    SEGMENTER_ABOUT,
    SEGMENTER_WEIGHTS,
)

ABOUT, CLASSES, CONFIG = "model.json", "classes.txt", "config.yaml"
LOADER = "wsss.api.registered"
Network = Literal["segmenter", "classifier"]
"""The kinds of artefacts that are registered. They are words of this format, too: model.json has one, also
in folders of earlier versions."""
SEGMENTER: Final = "segmenter"
CLASSIFIER: Final = "classifier"
FILES: dict[Network, tuple[str, str]] = {
    SEGMENTER: (SEGMENTER_WEIGHTS, SEGMENTER_ABOUT),
    CLASSIFIER: (CLASSIFIER_WEIGHTS, CLASSIFIER_ABOUT),
}
"""Network → the files of its weights and of what it is; the first network that a chain has is registered."""


class About(BaseModel):
    """model.json. `cams` and `threshold` say how a classifier's maps become masks."""

    model_config = ConfigDict(strict=True, frozen=True)
    format: Literal[1] = 1
    stage: Network
    key: str
    study: str
    trial: str
    sha256: str
    """Of the weights."""
    cams: dict[str, Any] = {}
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.0


def is_registered(folder: Path) -> bool:
    """Whether a folder is that of a registered model."""
    return (folder / ABOUT).is_file()


def read_about(folder: Path) -> About:
    """Return what a registered model's folder says of itself. Raises `ConfigError`."""
    path = folder / ABOUT
    try:
        return About.model_validate(read_json(path))
    except ValidationError as error:
        reason = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise ConfigError(Problem(str(path), f"describes no registered model: {reason}")) from error


def class_lines(classes: Sequence[str]) -> str:
    """Return the text of classes.txt."""
    return "".join(f"{name}\n" for name in ("background", *classes))
