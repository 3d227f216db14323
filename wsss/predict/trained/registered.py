"""The network in a registered model's folder, and what makes masks with it."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError

from wsss.config.params.stages import CamsParams
from wsss.errors import ConfigError, Problem, WsssError, first_line
from wsss.files import read_json, sha256_file
from wsss.models.computing.folding import fold_norms
from wsss.predict.cam_model import CamModel, CamPredictor
from wsss.predict.predictor import Predictor, Settings
from wsss.predict.trained.model import Model, load_weights
from wsss.predict.trained.model_folder import FILES, read_about
from wsss.stages.training.network import load_classifier


def load_registered(folder: Path) -> Model | CamModel:
    """Return the network of a registered model's folder, on the CPU. Raises `ConfigError` for any other."""
    about = read_about(folder)
    weights, beside = (folder / name for name in FILES[about.stage])
    if not weights.is_file() or sha256_file(weights) != about.sha256:
        message = "is missing, or is not what was registered"
        raise ConfigError(Problem(str(weights), message, "`sync` sends what is missing"))
    if about.stage == "segmenter":
        return load_weights(weights, beside, id=about.key)
    try:
        cams = CamsParams.model_validate(about.cams)
        network = load_classifier(folder)
        classes = tuple(map(str, read_json(beside)["classes"]))
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError, WsssError) as error:
        message = f"describes no classifier: {first_line(error)}"
        raise ConfigError(Problem(str(beside), message)) from error
    fold_norms(network)
    return CamModel(network, classes, cams, about.threshold, about.key)


def predictor_for(model: Model | CamModel, settings: Settings) -> Predictor | CamPredictor:
    """Return what makes masks with a model. Raises `ConfigError` when `memory` is too little for it."""
    return CamPredictor(model, settings) if isinstance(model, CamModel) else Predictor(model, settings)
