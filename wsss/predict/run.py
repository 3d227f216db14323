"""The whole of `predict`: photos in, masks, overlays and areas.json out. What is there already stays."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from wsss.data.pictures.decode import photo_size
from wsss.errors import DataError, Problem, StageError
from wsss.files import sha256_file
from wsss.predict.cam_model import CamPredictor
from wsss.predict.output import Output
from wsss.predict.photos import Photo, read_photo
from wsss.predict.predictor import Plan, Predictor

log = logging.getLogger("wsss")


@dataclass
class Summary:
    """A run's outcome: `areas` is areas.json, `failed` the photos that couldn't be done."""

    areas: dict[str, Any]
    done: int = 0
    kept: int = 0
    failed: list[Problem] = field(default_factory=list)


def predict(
    predictor: Predictor | CamPredictor,
    photos: Sequence[Photo],
    output: Output,
    *,
    force: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Summary:
    """Segment photos and write their results; photos that can't be read are listed, and the others done.

    Raises `ConfigError`, before anything is written, when the memory is too little for one of the photos or
    results would overwrite something.

    Args:
        predictor: makes the masks.
        photos: with a name each.
        output: the folder of results.
        force: whether to replace any file.
        progress: gets (photos done, all photos).
    """
    made_by = {"model": predictor.model.id, "settings": predictor.settings.described()}
    plans, problems = _plans(predictor, photos)
    readable = [photo for photo in photos if photo in plans]
    todo = output.claim(readable, made_by, force=force)
    summary = Summary({}, kept=len(readable) - len(todo), failed=problems)
    _announce([(photo, plans[photo]) for photo in todo])
    try:
        for batch in batches(todo, plans):
            _predict_batch(
                predictor, batch, plans[batch[0]][1], made_by=made_by, output=output, summary=summary
            )
            progress(summary.kept + summary.done + len(summary.failed), len(photos))
    finally:
        output.save()
    output.pending -= {photo.name for photo in photos}
    output.save()
    summary.areas = output.content()
    return summary


Planned = dict[Photo, tuple[tuple[int, int], Plan]]


def _plans(predictor: Predictor | CamPredictor, photos: Sequence[Photo]) -> tuple[Planned, list[Problem]]:
    """Return the size of every photo that can be opened and how it is done, and what is wrong with others."""
    by_size: dict[tuple[int, int], Plan] = {}
    plans: Planned = {}
    problems: list[Problem] = []
    for photo in photos:
        try:
            width, height = photo_size(photo.path)
            size = height, width
        except DataError as error:
            problems += error.problems
            continue
        if size not in by_size:
            by_size[size] = predictor.plan(*size)
        plans[photo] = size, by_size[size]
    return plans, problems


def _announce(planned: Sequence[tuple[Photo, tuple[tuple[int, int], Plan]]]) -> None:
    for photo, ((height, width), plan) in planned:
        if plan.reduction > 1:
            log.warning(
                "%s: of its %d × %d pixels the CRF sees a copy %d times smaller, as --memory wants it",
                photo.path, width, height, plan.reduction,
            )  # fmt: skip
    tiled = [photo for photo, (_, plan) in planned if plan.tiling.count > 1]
    if tiled:
        log.warning(
            "%d photos are segmented in overlapping tiles, the first is %s", len(tiled), tiled[0].path
        )


def batches(photos: Sequence[Photo], plans: Planned) -> Iterator[list[Photo]]:
    """Yield photos of equal size together, as many as their plan says, in order of first appearance."""
    groups: dict[tuple[int, int], list[Photo]] = {}
    for photo in photos:
        groups.setdefault(plans[photo][0], []).append(photo)
    for size, group in groups.items():
        step = plans[group[0]][1].batch
        assert all(plans[photo][0] == size for photo in group)
        for start in range(0, len(group), step):
            yield group[start : start + step]


def _predict_batch(
    predictor: Predictor | CamPredictor,
    batch: Sequence[Photo],
    plan: Plan,
    *,
    made_by: dict[str, Any],
    output: Output,
    summary: Summary,
) -> None:
    read = []
    for photo in batch:
        try:
            read.append((photo, read_photo(photo.path)))
        except DataError as error:
            summary.failed += error.problems
    if not read:
        return
    try:
        masks = predictor.masks([rgb for _, rgb in read], plan)
    except StageError as error:
        summary.failed += [Problem(str(photo.path), str(error)) for photo, _ in read]
        return
    for (photo, rgb), mask in zip(read, masks, strict=True):
        entry = {
            **made_by,
            "photo": str(photo.path),
            "sha256": sha256_file(photo.path),
            "width": mask.shape[1],
            "height": mask.shape[0],
            "tiles": plan.tiling.count,
            "crf_reduction": plan.reduction if predictor.settings.crf else None,
            "areas": areas(mask, predictor.model.classes),
        }
        output.add(photo, rgb, mask, entry)
        summary.done += 1


def areas(mask: npt.NDArray[np.uint8], classes: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return, for the background and every class, how many pixels a mask gives it, and their share of all."""
    counts = np.bincount(mask.ravel(), minlength=len(classes) + 1)
    names = ("background", *classes)
    return {
        name: {"pixels": int(count), "share": int(count) / mask.size}
        for name, count in zip(names, counts, strict=True)
    }
