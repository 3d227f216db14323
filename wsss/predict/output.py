"""The folder that `predict` writes: masks, overlays and areas.json, nothing overwritten unasked.

areas.json says how each mask was made, so that a second run over the same photos does what is missing. While
a run is under way it also lists under `pending` what may be half done.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from wsss.errors import ConfigError, Problem
from wsss.files import read_json, sha256_file, write_atomic, write_json
from wsss.masks.images import overlay, write_mask
from wsss.predict.photos import Photo

AREAS = "areas.json"
FORMAT = 1
SAVE_SECONDS = 10.0
"""Between two writes of areas.json while photos are segmented."""


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
    how: dict[str, Any] = {"format": "JPEG", "quality": 90} if path.suffix == ".jpg" else {"format": "PNG"}
    content = io.BytesIO()
    overlay(rgb, mask).save(content, **how)
    write_atomic(path, content.getvalue())
