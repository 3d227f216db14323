"""Networks that studies have trained, on photos in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss.api.algorithms import Maps, cams
from wsss.api.pictures import Mask, Photo, as_rgb
from wsss.api.settings import chosen_device, class_numbers
from wsss.config.text.location import Location, parse_location
from wsss.errors import ConfigError, Problem
from wsss.models import CamNetwork
from wsss.predict.cam_model import CamModel
from wsss.predict.predictor import Predictor, Settings
from wsss.predict.trained.model import Model, load_artefact, load_classifier_folder, load_file_model
from wsss.predict.trained.model_folder import CLASSIFIER, SEGMENTER, is_registered
from wsss.predict.trained.reference import FILES, find_network, load_model, record_of
from wsss.stages.kinds.training.files import (
    CLASSIFIER_ABOUT,
    CLASSIFIER_WEIGHTS,
    SEGMENTER_ABOUT,
    SEGMENTER_WEIGHTS,
)
from wsss.store.storage import open_storage

WHERE = "wsss.load"


@dataclass(frozen=True)
class Trained:
    """What a trial has trained: a classifier, a segmentation network, or both.

    `classes` are the names of the foreground classes; in a mask the one at position k has id k + 1.
    """

    classes: tuple[str, ...]
    classifier: CamNetwork | None
    segmenter: Model | None
    device: str

    def predict(
        self,
        photo: Photo,
        *,
        scales: Sequence[float] | None = None,
        flip: bool = False,
        crf: bool = False,
        memory: float = 4.0,
    ) -> Mask:
        """Return the mask uint8[H, W] of a photo without labels: 0 is background, k + 1 the class k.

        Args:
            photo: a file, a picture, or uint8[H, W, 3].
            scales: factors of the photo's size, above 0; those of the training when None.
            flip: whether the mirrored photo has a say.
            crf: whether a dense CRF refines the result.
            memory: GiB that may be used; large photos are done in tiles.

        Raises `ConfigError` where no segmentation network was trained or `memory` is too little, `DataError`
        for what is no photo.

        Examples:
            ```python
            network = wsss.load("segment-a-000", storage="runs")
            mask = network.predict("photo.png", flip=True)  # uint8[H, W]
            ```
        """
        if self.segmenter is None:
            raise ConfigError(Problem("predict", "no segmentation network was trained here", "use `cam`"))
        settings = Settings(
            tuple(scales or self.segmenter.scales), flip=flip, crf=crf, device=self.device, memory=memory
        )
        rgb = as_rgb(photo)
        predictor = Predictor(self.segmenter, settings)
        try:
            (mask,) = predictor.masks([rgb], predictor.plan(rgb.shape[0], rgb.shape[1]))
        finally:
            predictor.close()
        return mask

    def cam(self, photo: Photo, labels: Sequence[str | int], **settings: Any) -> Maps:
        """Return class activation maps float16[n, H, W] in [0, 1], one a label, in the order of `classes`.

        Args:
            photo: a file, a picture, or uint8[H, W, 3].
            labels: names of classes, or their 0-based numbers.
            settings: `scales`, `flip` and `size`, as of `wsss.cams`.

        Raises `ConfigError` where no classifier was trained and for unknown labels, `DataError` for what is
        no photo.

        Examples:
            ```python
            network = wsss.load("cam-a-000", storage="runs")
            (map_of_cats,) = network.cam("photo.png", ["cat"])  # float16[H, W] in [0, 1]
            ```
        """
        if self.classifier is None:
            raise ConfigError(Problem("cam", "no classifier was trained here", "use `predict`"))
        numbers = class_numbers(labels, self.classes, "cam")
        (maps,) = cams(self.classifier, [photo], [numbers], device=self.device, **settings)
        return maps


def load(reference: str | Path, *, storage: str | Path | None = None, device: str = "auto") -> Trained:
    """Return the networks that a study has trained, or the one in a file.

    Args:
        reference: the id of a trial (with "STUDY/" before it where studies share it), the key of an artefact
            or six characters of it, the id of an MLflow run, a model of MLflow's registry ("models:/STUDY"),
            the folder of an artefact, or a .safetensors or .pt2 file that `predict --export` or a study has
            written.
        storage: the folder or address of the storage; `runs` when None.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.

    Raises `ConfigError`, naming the nearest, when nothing or more than one thing is meant.

    Examples:
        ```python
        network = wsss.load("segment-a-000", storage="runs")
        print(network.classes)
        mask = network.predict("photo.png")  # uint8[H, W]: 0 is background, k + 1 the class k
        ```
    """
    place, path = chosen_device(device), Path(reference)
    if str(reference).startswith("models:") or (path.is_dir() and is_registered(path)):
        model = load_model(str(reference), _location(storage))
        if isinstance(model, CamModel):
            return Trained(model.classes, model.network, None, place)
        return Trained(model.classes, None, model, place)
    if path.is_dir() and (path / CLASSIFIER_WEIGHTS).is_file():
        record_of(path, (CLASSIFIER_WEIGHTS, CLASSIFIER_ABOUT))
        return _of_folders(path, None, place)
    if path.is_dir() and (path / SEGMENTER_WEIGHTS).is_file():
        record_of(path, (SEGMENTER_WEIGHTS, SEGMENTER_ABOUT))
        return _of_folders(None, path, place)
    if path.is_file() or path.suffix in FILES:
        if not path.is_file():
            raise ConfigError(Problem(WHERE, f"there is no file {reference}"))
        model = load_file_model(path)
        return Trained(model.classes, None, model, place)
    store = open_storage(_location(storage))
    found: dict[str, Path] = {}
    errors: list[ConfigError] = []
    for stage in (CLASSIFIER, SEGMENTER):
        try:
            found[stage] = find_network(str(reference), store, stage, where=WHERE).folder
        except ConfigError as error:
            errors.append(error)
    if not found:
        raise _likeliest(errors)
    return _of_folders(found.get(CLASSIFIER), found.get(SEGMENTER), place)


def _location(storage: str | Path | None) -> Location:
    try:
        return parse_location(str(storage or "runs"))
    except ValueError as error:
        message, _, hint = str(error).partition("|")
        raise ConfigError(Problem("storage", message, hint)) from error


def _likeliest(errors: Sequence[ConfigError]) -> ConfigError:
    """Return the error that has a name to offer, if one has."""
    named = [error for error in errors if any("there is no" not in one.hint for one in error.problems)]
    return (named or list(errors))[0]


def _of_folders(classifier: Path | None, segmenter: Path | None, device: str) -> Trained:
    network, classes = (None, ()) if classifier is None else load_classifier_folder(classifier)
    model = None if segmenter is None else load_artefact(segmenter, segmenter.name)
    if model is not None and network is None:
        classes = model.classes
    return Trained(classes, network, model, device)
