"""The whole of `predict`: photos in, masks, overlays and areas.json out, nothing overwritten unasked.

areas.json says how each mask was made, so that a second run over the same photos does what is missing. While
a run is under way it also lists under `pending` what may be half done.
"""

from __future__ import annotations

import io
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError

from wsss.data.pictures.decode import photo_size
from wsss.errors import ConfigError, DataError, Problem, StageError
from wsss.files import read_json, sha256_file, write_atomic, write_json
from wsss.masks.images import overlay, write_mask
from wsss.predict.cam_model import CamPredictor
from wsss.predict.photos import Photo, read_photo
from wsss.predict.predictor import Plan, Predictor

AREAS = "areas.json"
FORMAT = 1
SAVE_SECONDS = 10.0
BLOCK_ROWS = 256

log = logging.getLogger("wsss")


@dataclass
class Summary:
    """A run's outcome: `areas` is areas.json, `failed` the photos that couldn't be done."""

    areas: dict[str, Any]
    done: int = 0
    kept: int = 0
    failed: list[Problem] = field(default_factory=list)


class _Areas(BaseModel):
    """areas.json, as far as a later run reads it."""

    model_config = ConfigDict(strict=True)
    format: Literal[1]
    photos: dict[str, dict[str, Any]]
    pending: list[str] = []


class Output:
    """The folder of results."""

    def __init__(self, folder: Path, ending: str) -> None:
        self.folder = folder
        self.ending = ending
        try:
            found = _Areas.model_validate(read_json(folder / AREAS))
        except ValidationError:  # none of ours, or changed since
            found = None
        self.is_ours = found is not None
        self.photos: dict[str, dict[str, Any]] = {} if found is None else found.photos
        self.pending: set[str] = set() if found is None else set(found.pending)
        self._saved = time.monotonic()

    def mask(self, photo: Photo) -> Path:
        return self.folder / f"{photo.name}.png"

    def overlay(self, photo: Photo) -> Path:
        return self.folder / f"{photo.name}_overlay.{self.ending}"

    def claim(self, photos: Sequence[Photo], made_by: dict[str, Any], *, force: bool) -> list[Photo]:
        """Return the photos whose results are missing, and note them as pending.

        Raises `ConfigError` when results would overwrite files that aren't theirs to replace.

        Args:
            photos: all that the user named.
            made_by: model and settings; results of others don't count as there.
            force: whether to replace any file.
        """
        inputs = {photo.path.resolve() for photo in photos}
        problems: list[Problem] = []
        todo: list[Photo] = []
        if (self.folder / AREAS).exists() and not self.is_ours and not force:
            problems.append(Problem(str(self.folder / AREAS), "isn't of `predict`"))
        for photo in photos:
            if self._is_done(photo, made_by):
                continue
            todo.append(photo)
            for path in (self.mask(photo), self.overlay(photo)):
                if Path(os.path.realpath(path)) in inputs:
                    hint = "choose another -o"
                    problems.append(
                        Problem(str(path), "is one of the photos, and would be overwritten", hint)
                    )
                elif path.exists() and not force and not self._is_half_done(photo):
                    problems.append(Problem(str(path), "exists already"))
        if problems:
            remedy = Problem(
                "", "results of other photos or settings stay as they are: choose another -o, or --force"
            )
            raise ConfigError([*problems[:20], remedy], title=f"{len(problems)} files in the way")
        for photo in todo:
            self.photos.pop(photo.name, None)
        self.pending |= {photo.name for photo in todo}
        self.folder.mkdir(parents=True, exist_ok=True)
        self.save()
        return todo

    def _is_done(self, photo: Photo, made_by: dict[str, Any]) -> bool:
        entry = self.photos.get(photo.name)
        if entry is None or {name: entry.get(name) for name in made_by} != made_by:
            return False
        files = self.mask(photo), self.overlay(photo)
        return (
            all(path.is_file() for path in files)
            and entry.get("overlay") == files[1].name
            and entry.get("sha256") == sha256_file(photo.path)
        )

    def _is_half_done(self, photo: Photo) -> bool:
        return photo.name in self.pending

    def add(
        self, photo: Photo, rgb: npt.NDArray[np.uint8], mask: npt.NDArray[np.uint8], entry: dict[str, Any]
    ) -> None:
        """Write a photo's results, each whole or not at all.

        Args:
            photo: names the files.
            rgb: uint8[H, W, 3].
            mask: uint8[H, W].
            entry: what `areas.json` says of the photo.
        """
        write_mask(self.mask(photo), mask)
        write_overlay(self.overlay(photo), rgb, mask)
        self.photos[photo.name] = entry | {"mask": self.mask(photo).name, "overlay": self.overlay(photo).name}
        self.pending.discard(photo.name)
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self.save()

    def content(self) -> dict[str, Any]:
        content: dict[str, Any] = {"format": FORMAT, "photos": self.photos}
        return content | ({"pending": sorted(self.pending)} if self.pending else {})

    def save(self) -> None:
        write_json(self.folder / AREAS, self.content())
        self._saved = time.monotonic()


def write_overlay(path: Path, rgb: npt.NDArray[np.uint8], mask: npt.NDArray[np.uint8]) -> None:
    """Write a photo with its mask's colours over it, whole or not at all.

    Args:
        path: its ending, .jpg or .png, decides the format.
        rgb: uint8[H, W, 3].
        mask: uint8[H, W].
    """
    picture = Image.new("RGB", (rgb.shape[1], rgb.shape[0]))
    for top in range(0, rgb.shape[0], BLOCK_ROWS):  # tinted as floats, which are many for a large photo
        rows = slice(top, top + BLOCK_ROWS)
        picture.paste(overlay(rgb[rows], mask[rows]), (0, top))
    content = io.BytesIO()
    picture.save(
        content, **({"format": "JPEG", "quality": 90} if path.suffix == ".jpg" else {"format": "PNG"})
    )
    write_atomic(path, content.getvalue())


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
            _predict_batch(predictor, batch, plans[batch[0]][1], made_by, output, summary)
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
