"""The facts of stage `pixel_head`: a small network on frozen features, taught by few or pseudo masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from wsss.config.params.pixel_head import PixelHeadParams
from wsss.config.stage import CROP, STAGES, StageKind
from wsss.data.readers.splits import drawn_in_turn, first_by_hash
from wsss.errors import ConfigError, Problem
from wsss.stages.kinds.training.files import SEGMENTER_ABOUT, SEGMENTER_WEIGHTS

if TYPE_CHECKING:
    from wsss.data.view import DataView


@STAGES.register
class PixelHead(StageKind[PixelHeadParams]):
    name = "pixel_head"
    params = PixelHeadParams
    work = "wsss.stages.training.pixel_head:PixelHead"
    seeded = True
    needs = ("classifier", "pseudo_masks")
    may_make = ("segmenter",)
    grows = ""

    @classmethod
    def reads(cls, params: PixelHeadParams) -> tuple[str, ...]:
        return cls.needs if params.supervision == "pseudo_masks" else ("classifier",)

    @classmethod
    def makes(cls, params: PixelHeadParams) -> str:
        return "segmenter"

    @classmethod
    def drawn_masks(cls, params: PixelHeadParams) -> int:
        return params.drawn

    @classmethod
    def supervision(cls, params: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the masks that it learns from; the labels behind pseudo masks come with its inputs."""
        asked = params.get("supervision", "pseudo_masks")
        if isinstance(asked, Mapping):
            return (f"masks: {asked['masks']}",)
        return ("masks",) if asked == "masks" else ()

    @classmethod
    def consumes(cls, params: PixelHeadParams, data: DataView) -> Mapping[str, str]:
        ids = teaching_images(params, data)
        if params.drawn:  # which of them, the seed decides
            ids = data.teach or data.select
        masks = {} if params.supervision == "pseudo_masks" else {"masks": data.mask_key(ids)}
        return {**masks, "train": data.image_key(ids)}

    @classmethod
    def small(cls, raw: Mapping[str, Any]) -> dict[str, Any]:
        asked = raw.get("supervision")
        few = {"supervision": {"masks": 2}} if isinstance(asked, Mapping) else {}
        return {**raw, **few, "size": 2 * CROP, "scales": [1.0], "iterations": 4, "batch": 2, "channels": 8}

    @classmethod
    def shown(cls, record: Mapping[str, Any]) -> dict[str, str]:
        return {".safetensors": SEGMENTER_WEIGHTS, ".json": SEGMENTER_ABOUT}

    @classmethod
    def passes(cls, params: PixelHeadParams, facts: Mapping[str, Any]) -> float:
        images = max(1, int(facts["images"]))
        looked_at = min(images, params.drawn or params.photos) * 2 * sum(s**2 for s in params.scales)
        return (looked_at + params.iterations * params.batch / 4) / images

    @classmethod
    def alike(cls, params: PixelHeadParams) -> tuple[Any, ...]:
        return (bool(params.drawn), params.channels)


def drawn_images(data: DataView, count: int, seed: int) -> tuple[str, ...]:
    """Return the images whose masks teach: of `data.teach`, or else `select`, drawn in turn for each class.

    Raises `ConfigError` when there are fewer.
    """
    pool = data.teach or data.select
    if count > len(pool):
        where = "teach" if data.teach else "select"
        message = f"is {count}, but `data.{where}` has {len(pool)} images with masks to draw from"
        raise ConfigError(Problem("supervision.masks", message, f"at most {len(pool)}"))
    shown = [np.flatnonzero(row).tolist() for row in data.dataset.labels(pool)]
    return drawn_in_turn(pool, shown, count, seed)


def teaching_images(params: PixelHeadParams, data: DataView, seed: int = 0) -> tuple[str, ...]:
    """Return the images that a pixel head learns from."""
    if params.drawn:
        return drawn_images(data, params.drawn, seed)
    return first_by_hash(data.train, params.photos)
