"""The network in a registered model's folder, and what makes masks with it."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from wsss.config.params.stages import CamsParams
from wsss.errors import ConfigError, Problem
from wsss.files import sha256_file
from wsss.models.computing.folding import fold_norms
from wsss.predict.cam_model import CamModel, CamPredictor
from wsss.predict.predictor import Predictor, Settings
from wsss.predict.trained.model import Model, load_classifier_folder, load_weights
from wsss.predict.trained.model_folder import ABOUT, FILES, SEGMENTER, read_about


def load_registered(folder: Path) -> Model | CamModel:
    """Return the network of a registered model's folder, on the CPU. Raises `ConfigError` for any other."""
    about = read_about(folder)
    weights, beside = (folder / name for name in FILES[about.stage])
    if not weights.is_file() or sha256_file(weights) != about.sha256:
        message = "is missing, or is not what was registered"
        raise ConfigError(Problem(str(weights), message, "`sync` sends what is missing"))
    if about.stage == SEGMENTER:
        return load_weights(weights, beside, id=about.key)
    try:
        cams = CamsParams.model_validate(about.cams)
    except ValidationError as error:
        reason = str(error).splitlines()[0][:200]
        raise ConfigError(Problem(str(folder / ABOUT), f"describes no maps: {reason}")) from error
    network, classes = load_classifier_folder(folder)
    fold_norms(network)
    return CamModel(network, classes, cams, about.threshold, about.key)


def predictor_for(model: Model | CamModel, settings: Settings) -> Predictor | CamPredictor:
    """Return what makes masks with a model. Raises `ConfigError` when `memory` is too little for it."""
    return CamPredictor(model, settings) if isinstance(model, CamModel) else Predictor(model, settings)
