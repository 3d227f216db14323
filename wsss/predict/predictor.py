"""From photos of any size to masks, within a stated memory."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.nn.functional import avg_pool2d, interpolate

from wsss.config.params.stages import CrfParams, SegmentationCrfParams
from wsss.data.pictures.sizes import resize_mask, working_size
from wsss.data.pool import ImagePool
from wsss.errors import ConfigError, Problem, StageError, first_line
from wsss.masks.crf import SMALLEST_PROBABILITY, crf_memory, dense_crf, probabilities_to_mask_with_crf
from wsss.masks.segmentation import label_batch, segment, segment_batch
from wsss.models.computing.memory import GIB, bytes_per_pixel, used_memory
from wsss.predict.tiles import ALIGNMENT, Tiling, blended_rows, plan_tiles, tiling_memory
from wsss.predict.trained.model import Model
from wsss.stages.out_of_memory import is_out_of_memory

LATER = 128 * 2**20
"""Bytes that the process takes only while it works: encoders, pieces that an allocator keeps."""
PHOTO_BYTES = 16
"""Bytes a pixel for the decoded photo, its mask and its overlay, some of them twice."""
BLOCK = 2**21
COPY = Image.Resampling.BICUBIC
REDUCTIONS = tuple(2**power for power in range(ALIGNMENT.bit_length()))

log = logging.getLogger("wsss")

Rgb = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Settings:
    """How photos are segmented.

    Args:
        scales: factors of the photo's size.
        flip: whether mirrored photos are shown too.
        crf: whether a dense CRF refines the result.
        device: a torch device string.
        batch: most photos of one size at a time.
        memory: in GiB; on a CPU that of the whole process.
        workers: processes for the CRF.
        crf_params: of the CRF.
    """

    scales: tuple[float, ...]
    flip: bool = False
    crf: bool = False
    device: str = "cpu"
    batch: int = 8
    memory: float = 4.0
    workers: int = 1
    crf_params: CrfParams = field(default_factory=SegmentationCrfParams)

    def described(self) -> dict[str, Any]:
        """Return what decides over masks, as JSON."""
        return {
            "scales": list(self.scales),
            "flip": self.flip,
            "crf": self.crf_params.model_dump(mode="json") if self.crf else None,
        }


@dataclass(frozen=True)
class Plan:
    """How a photo is done: in tiles or at once, `batch` of its size together, and the CRF on a copy
    `reduction` times smaller (1: on the photo itself)."""

    tiling: Tiling
    reduction: int
    batch: int


def memory_left(settings: Settings) -> float:
    """Return the bytes that photos may take. Raises `ConfigError` when there are none.

    On a CPU what the program takes already, its network included, counts.
    """
    used = used_memory() + LATER if torch.device(settings.device).type == "cpu" else 0
    left = settings.memory * GIB - used
    if left <= 0:
        message = f"is {settings.memory:g} GiB, but the program and its network take {used / GIB:.2f} already"
        raise ConfigError(Problem("--memory", message))
    return left


class Predictor:
    """Masks of photos by one model. Raises `ConfigError` when `memory` is too little for the network.

    Examples:
        With an untrained network, to show the shapes; `load_file_model` loads a trained one.

        >>> from wsss.models import DeepLab, create_backbone
        >>> network = DeepLab(create_backbone("mobilenet_v2", "none", dense=True), ["cat", "dog"]).eval()
        >>> model = Model(network, ("cat", "dog"), scales=(1.0,), id="untrained")
        >>> predictor = Predictor(model, Settings(scales=(1.0,)))
        >>> photo = np.zeros((48, 64, 3), np.uint8)
        >>> (mask,) = predictor.masks([photo], predictor.plan(48, 64))
        >>> mask.shape, mask.dtype
        ((48, 64), dtype('uint8'))
        >>> predictor.close()
    """

    def __init__(self, model: Model, settings: Settings) -> None:
        self.model = model.to(settings.device)
        self.settings = settings
        self.per_pixel = bytes_per_pixel(self._segment)
        self.budget = memory_left(settings)
        self._refused = math.inf
        """Bytes that the device turned out not to have."""
        self._pool = ImagePool(settings.workers)

    def close(self) -> None:
        self._pool.close()

    def plan(self, height: int, width: int) -> Plan:
        """Return how a photo of that size is done. Raises `ConfigError` when it can't be."""
        height, width = self._shown(height, width)
        labels, area = self.model.labels, height * width
        budget = self.budget - PHOTO_BYTES * area
        reduction = 1
        if self.settings.crf:
            reduction = next((k for k in REDUCTIONS if self._crf_memory(area / k**2) <= budget / 2), 0)
            if not reduction:
                message = f"is too little for a dense CRF on a photo of {width} × {height} pixels"
                raise ConfigError(Problem("--memory", message, "allow more, or leave --crf out"))
            budget -= 4 * labels * area / reduction**2
        tiling = plan_tiles(height, width, labels, self.per_pixel, budget)
        batch = 1
        if tiling.count == 1 and reduction == 1:
            need = tiling_memory(tiling, labels, self.per_pixel) + PHOTO_BYTES * area
            batch = max(1, min(self.settings.batch, int(budget // need)))
        return Plan(tiling, reduction, batch)

    def masks(self, photos: Sequence[Rgb], plan: Plan) -> list[Mask]:
        """Return the masks uint8[H, W] of photos uint8[H, W, 3] of the size that the plan was made for.

        Where a GPU has less memory than was thought, photos are done one by one, then in smaller tiles, and
        those that follow too. Raises `StageError` when the smallest take too much.
        """
        height, width = photos[0].shape[:2]
        shown = self._shown(height, width)
        if shown != (height, width):
            small = [np.array(Image.fromarray(photo).resize(shown[::-1], COPY)) for photo in photos]
            return [resize_mask(mask, (width, height)) for mask in self.masks(small, plan)]
        while True:
            if len(photos) > 1 and self._need(plan.tiling) * len(photos) > self.budget:
                return [mask for photo in photos for mask in self.masks([photo], plan)]
            if self._need(plan.tiling) > self.budget:
                plan = self._smaller_plan(height, width)
            try:
                return self._masks(photos, plan)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                first = first_line(error)
            # Out of the handler: the error holds the tensors of the attempt.
            torch.cuda.empty_cache()
            self._refused = min(self._refused, self._need(plan.tiling) * len(photos))
            self.budget = min(self.budget, self._refused / 2)
            log.warning(
                "%s: photos of %d × %d pixels are done with less memory from here on, %.2f GiB",
                first, width, height, self.budget / GIB,
            )  # fmt: skip

    def _shown(self, height: int, width: int) -> tuple[int, int]:
        """Return the (height, width) at which the network sees a photo: where it learnt at a size, those of
        the copy that stages make, or else its own."""
        if getattr(self.model.network, "size", None) is None:
            return height, width
        small = working_size(width, height)
        return small[1], small[0]

    def _need(self, tiling: Tiling) -> float:
        return tiling_memory(tiling, self.model.labels, self.per_pixel)

    def _smaller_plan(self, height: int, width: int) -> Plan:
        with contextlib.suppress(ConfigError):
            return self.plan(height, width)
        self.budget = self._refused - 1  # half of it was too little: try what comes next below it
        try:
            return self.plan(height, width)
        except ConfigError as error:
            place = torch.device(self.settings.device)
            message = f"out of memory on {place}: {error.problems[0].message}"
            raise StageError(Problem("", message, "use smaller --scales, or --device cpu")) from error

    def _masks(self, photos: Sequence[Rgb], plan: Plan) -> list[Mask]:
        if plan.tiling.count > 1 or plan.reduction > 1:
            return [self._large(photo, plan) for photo in photos]
        how: dict[str, Any] = {
            "scales": self.settings.scales,
            "flip": self.settings.flip,
            "device": self.settings.device,
        }
        if not self.settings.crf and torch.device(self.settings.device).type == "cuda":
            return label_batch(self.model.network, photos, **how)
        scores = segment_batch(self.model.network, photos, **how)
        if not self.settings.crf:
            return [winners(one) for one in scores]
        tasks = [(photo, one, self.settings.crf_params) for photo, one in zip(photos, scores, strict=True)]
        together = self._crf_memory(photos[0].shape[0] * photos[0].shape[1]) * min(
            len(tasks), self._pool.workers
        )
        if len(tasks) == 1 or together > self.budget:
            return [probabilities_to_mask_with_crf(*task) for task in tasks]
        return self._pool.map(probabilities_to_mask_with_crf, tasks)

    def _segment(self, photo: Rgb) -> npt.NDArray[np.float32]:
        settings = self.settings
        return segment(
            self.model.network, photo, scales=settings.scales, flip=settings.flip, device=settings.device
        )

    def _crf_memory(self, area: float) -> float:
        return crf_memory(self.model.labels) * area

    def _large(self, photo: Rgb, plan: Plan) -> Mask:
        height, width = photo.shape[:2]
        k = plan.reduction
        mask = np.empty((height, width), np.uint8)
        kept = (
            np.empty((self.model.labels, -(-height // k), -(-width // k)), np.float32)
            if self.settings.crf
            else None
        )
        for top, scores in blended_rows(photo, plan.tiling, self.model.labels, self._segment):
            if kept is None:
                mask[top : top + scores.shape[1]] = winners(scores)
            else:
                small = pooled(scores, k)
                kept[:, top // k : top // k + small.shape[1]] = small
                del small
            del scores  # or the strip would live on while the next one is made
        if kept is None:
            return mask
        possible = np.flatnonzero(kept.max((1, 2)) >= SMALLEST_PROBABILITY)
        rgb = np.asarray(Image.fromarray(photo).reduce(k)) if k > 1 else photo
        refined = dense_crf(rgb, kept[possible], self.settings.crf_params)
        del kept
        return enlarged_winners(refined, possible, k, (height, width))


def winners(scores: npt.NDArray[np.float32]) -> Mask:
    """Return uint8[H, W], the number of the largest of scores float32[K, H, W], the first of equals."""
    labels, height, width = scores.shape
    mask = np.empty((height, width), np.uint8)
    rows = max(1, BLOCK // (labels * width))  # NumPy copies what it takes the largest of
    for top in range(0, height, rows):
        mask[top : top + rows] = scores[:, top : top + rows].argmax(0)
    return mask


def pooled(scores: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.float32]:
    """Return float32[K, ⌈H/k⌉, ⌈W/k⌉], means over blocks of k × k pixels; those at edges may be smaller."""
    if k == 1:
        return scores
    parts = [
        avg_pool2d(torch.from_numpy(one)[None], k, ceil_mode=True, count_include_pad=False)[0].numpy()
        for one in scores
    ]
    return np.stack(parts)


def enlarged_winners(
    scores: npt.NDArray[np.float32], ids: npt.NDArray[np.int64], k: int, size: tuple[int, int]
) -> Mask:
    """Return uint8[H, W], the id whose scores, enlarged k times bilinearly, are the largest.

    Args:
        scores: float32[n, ⌈H/k⌉, ⌈W/k⌉].
        ids: of each map, int[n].
        k: the factor, at least 1.
        size: (H, W).
    """
    height, width = size
    best = np.full(size, -np.inf, np.float32)
    mask = np.zeros(size, np.uint8)
    for id, one in zip(ids, scores, strict=True):
        if k > 1:
            grown = interpolate(torch.from_numpy(one)[None, None], scale_factor=k, mode="bilinear")[0, 0]
            one = grown.numpy()[:height, :width]
        higher = one > best
        best[higher] = one[higher]
        mask[higher] = id
    return mask
