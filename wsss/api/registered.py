"""What MLflow loads a registered model with: `mlflow.pyfunc.load_model("models:/STUDY@champion")`.

The folder's `MLmodel` names this module; nothing is unpickled, and MLflow isn't imported here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wsss.api.pictures import Mask, as_rgb
from wsss.api.settings import chosen_device
from wsss.errors import DataError
from wsss.predict.predictor import Settings
from wsss.predict.trained.registered import load_registered, predictor_for

MEMORY = 4.0
"""GiB that masks may take; larger photos are done in tiles."""


class RegisteredModel:
    """Makes masks of photos: uint8[H, W], 0 for background, k + 1 for the class at place k of `classes`."""

    def __init__(self, folder: Path, device: str = "auto") -> None:
        self.model = load_registered(folder)
        self.classes = self.model.classes
        self._device = chosen_device(device)

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> Any:
        """Return the mask of a photo, or a list of masks for a list of photos.

        Args:
            model_input: a photo: uint8[H, W, 3] in RGB, a Pillow picture, or a file's path. A list of photos,
                of any sizes; uint8[N, H, W, 3], for which an array uint8[N, H, W] is returned; or a data
                frame whose first column has photos.
            params: `flip` (whether mirrored photos have a say) and `crf` (whether a dense CRF refines masks).

        Raises `DataError` for what is no photo.
        """
        if isinstance(model_input, str | os.PathLike | Image.Image):
            return self._masks([model_input], params)[0]
        if hasattr(model_input, "iloc"):
            model_input = list(model_input.iloc[:, 0])
        if isinstance(model_input, np.ndarray) and model_input.ndim == 3:
            return self._masks([model_input], params)[0]
        if isinstance(model_input, np.ndarray) and model_input.ndim == 4:
            return np.stack(self._masks(list(model_input), params))
        if not isinstance(model_input, list | tuple):
            shape = f"{list(model_input.shape)}" if isinstance(model_input, np.ndarray) else ""
            what = f"{type(model_input).__name__}{shape}"
            raise DataError(f"the input is of type {what}, but must be a photo or a list of photos")
        return self._masks(list(model_input), params)

    def _masks(self, photos: list[Any], params: Mapping[str, Any] | None) -> list[Mask]:
        chosen = dict(params or {})
        settings = Settings(
            self.model.scales,
            flip=bool(chosen.get("flip", False)),
            crf=bool(chosen.get("crf", False)),
            device=self._device,
            memory=MEMORY,
        )
        arrays = [as_rgb(_photo(photo)) for photo in photos]
        predictor = predictor_for(self.model, settings)
        try:
            return [predictor.masks([rgb], predictor.plan(*rgb.shape[:2]))[0] for rgb in arrays]
        finally:
            predictor.close()


def _photo(photo: Any) -> Any:
    """Return a photo that came as nested lists, as JSON has it, as an array."""
    if not isinstance(photo, list):
        return photo
    array = np.asarray(photo)
    if array.dtype.kind in "iu" and array.size and array.min() >= 0 and array.max() <= 255:
        return array.astype(np.uint8)
    return array


def _load_pyfunc(path: str) -> RegisteredModel:
    """Return the model in a folder; MLflow calls this."""
    return RegisteredModel(Path(path))
