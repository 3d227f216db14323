"""Masks from a classifier alone, where a study has trained no segmentation network.

The classifier says which classes a photo shows, its class activation maps where, and the threshold that the
study chose on its `select` images where a class ends. Such masks are what a segmentation network would have
been taught with, without anybody's labels: rougher than that network's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from wsss.config.params.stages import CamsParams, PseudoMasksParams
from wsss.data.pictures.sizes import resize_mask
from wsss.errors import ConfigError, Problem
from wsss.masks.cams import multi_scale_cams
from wsss.masks.crf import cam_to_sure_mask_with_crf, crf_memory
from wsss.masks.seeds import threshold_mask
from wsss.models import CamNetwork
from wsss.models.computing.memory import bytes_per_pixel
from wsss.models.computing.precision import placed
from wsss.predict.predictor import PHOTO_BYTES, REDUCTIONS, Mask, Plan, Rgb, Settings, memory_left
from wsss.predict.tiles import Tiling
from wsss.stages.predicted_masks import predicted_labels
from wsss.stages.training.segmentation_network import SegmentationNetwork

LIKELY = 0.5
"""A photo shows the classes that are more probable than this."""
MAP_BYTES = 8
"""Bytes a pixel for one more class's map and its sum."""


@dataclass(frozen=True)
class CamModel:
    """A classifier in evaluation mode, and how its study makes CAMs. `id` is its artefact's key.

    `threshold` is the CAM, in [0, 1], above which a pixel is of a class.
    """

    network: CamNetwork
    classes: tuple[str, ...]
    cams: CamsParams
    threshold: float
    id: str

    @property
    def scales(self) -> tuple[float, ...]:
        return self.cams.scales

    @property
    def segmentation_network(self) -> SegmentationNetwork:
        """There is none. Raises `ConfigError`."""
        message = "needs a segmentation network, but the study has trained a classifier alone"
        raise ConfigError(Problem("--export", message, "add the stage `segmenter` to the study"))


class CamPredictor:
    """Masks of photos by a classifier; used as a `Predictor` is.

    Large photos are looked at in smaller copies, and their masks enlarged. Raises `ConfigError` when
    `memory` is too little for the network.
    """

    def __init__(self, model: CamModel, settings: Settings) -> None:
        placed(model.network, settings.device, model.network.precision).eval()
        self.model = model
        self.settings = settings
        self._budget = memory_left(settings)
        self._per_pixel = bytes_per_pixel(lambda photo: self._cams(photo, [0])) + MAP_BYTES * len(
            model.classes
        )
        if settings.crf:
            self._per_pixel += crf_memory(len(model.classes) + 1)

    def close(self) -> None:
        """Nothing is open."""

    def plan(self, height: int, width: int) -> Plan:
        """Return how a photo of that size is done. Raises `ConfigError` when it can't be."""
        area = height * width
        left = self._budget - PHOTO_BYTES * area
        fits = (k for k in REDUCTIONS if self._per_pixel * area / k**2 <= left)
        reduction = next(fits, 0)
        if not reduction:
            message = f"is too little for a photo of {width} × {height} pixels"
            raise ConfigError(Problem("--memory", message, "allow more"))
        return Plan(Tiling(((0, height),), ((0, width),)), reduction, 1)

    def masks(self, photos: Sequence[Rgb], plan: Plan) -> list[Mask]:
        """Return the masks uint8[H, W] of photos uint8[H, W, 3]."""
        return [self._mask(photo, plan.reduction) for photo in photos]

    def _mask(self, photo: Rgb, reduction: int) -> Mask:
        height, width = photo.shape[:2]
        seen = photo if reduction == 1 else np.asarray(Image.fromarray(photo).reduce(reduction))
        labels = predicted_labels(
            self.model.network, seen, self.model.cams.size, LIKELY, self.settings.device
        )
        if not labels:
            return np.zeros((height, width), np.uint8)
        maps = self._cams(seen, labels)
        if self.settings.crf:
            # The background as strong as it is where a CAM is at the threshold.
            exponent = math.log(self._share) / math.log(1 - self._share)
            params = PseudoMasksParams(background_exponent=exponent, crf=self.settings.crf_params)
            mask, _ = cam_to_sure_mask_with_crf(seen, maps, labels, params)
        else:
            mask = threshold_mask(maps, labels, self.model.threshold)
        return resize_mask(mask, (width, height))

    @property
    def _share(self) -> float:
        return min(max(self.model.threshold, 0.01), 0.99)

    def _cams(self, photo: Rgb, labels: Sequence[int]) -> npt.NDArray[np.float16]:
        cams = self.model.cams
        (maps,) = multi_scale_cams(
            self.model.network,
            [photo],
            [list(labels)],
            scales=self.settings.scales,
            flip=cams.flip or self.settings.flip,
            size=cams.size,
            device=self.settings.device,
            registration=cams.registration,
        )
        return maps
