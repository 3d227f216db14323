"""What data sets have in common: photos, masks and labels that are files, found by id."""

from __future__ import annotations

import abc
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from wsss.data.pictures.decode import decode_mask, ids_in, open_photo
from wsss.data.pictures.opening import read_bytes
from wsss.data.pictures.sizes import WORKING_PIXELS, shrink_mask
from wsss.data.readers.annotations import Annotation
from wsss.data.tables.class_names import unknown_class
from wsss.data.tables.text import tidy
from wsss.errors import ConfigError, DataError, Problem
from wsss.labels import IGNORED

Labels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.uint8]


class Dataset(Protocol):
    """Images with labels and masks, found by id. `classes` are the foreground classes in use; the
    one at position k (from 1) has id k in every mask read through it."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def root(self) -> Path: ...

    def image(self, id: str) -> Image.Image:
        """Return the photo in RGB, at its working size."""

    def mask(self, id: str) -> Mask:
        """Return uint8[H, W] in 0..C and 255, at the photo's working size; objects of classes that are not
        in use are 255."""

    def labels(self, ids: Sequence[str]) -> Labels:
        """Return uint8[N, C], 1 where the image shows the class."""


class PhotoSet(abc.ABC):
    """A data set on disk. Raises `ConfigError` for classes that it doesn't have.

    Args:
        root: its folder.
        known: its classes, without the background; the one at position k (from 1) has id k on disk.
        wanted: those to use; they keep the order of `known`.
    """

    def __init__(self, root: Path, known: tuple[str, ...], wanted: Literal["all"] | Sequence[str]) -> None:
        self.root = root
        self.known_classes = known
        """Every class of the data set, in use or not: what masks on disk count."""
        self.classes: tuple[str, ...] = _select(known, wanted)
        self._remap = np.full(256, IGNORED, np.uint8)
        self._remap[0] = 0
        for source, target in self.class_ids.items():
            self._remap[source] = target

    @property
    def class_ids(self) -> dict[int, int]:
        """Id in masks on disk → id in masks read through this data set, for the classes in use."""
        return {self.known_classes.index(name) + 1: k for k, name in enumerate(self.classes, 1)}

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What was found wrong with the set as a whole when it was opened."""
        return ()

    @property
    def implied_classes(self) -> tuple[str, ...]:
        """Return the classes that nothing lists: they are what occurs as a label, slips of the pen too."""
        return ()

    @abc.abstractmethod
    def split_names(self) -> tuple[str, ...]:
        """Return the names of the lists that exist."""

    @abc.abstractmethod
    def split(self, name: str) -> tuple[str, ...]:
        """Return the ids of a list. Raises `DataError` when there is no such list, or it is wrong."""

    @abc.abstractmethod
    def tables(self) -> tuple[Path, ...]:
        """Return the files that speak of many images: lists, labels, names of classes; those there are."""

    @abc.abstractmethod
    def image_path(self, id: str) -> Path: ...

    @abc.abstractmethod
    def mask_path(self, id: str) -> Path: ...

    @abc.abstractmethod
    def has_mask(self, id: str) -> bool:
        """Whether a mask is expected of the image."""

    @abc.abstractmethod
    def annotation_path(self, id: str) -> Path:
        """Return the file that says what the image shows."""

    def missing_hint(self, path: Path) -> str:
        """Return a hint that names the file that is there in place of one of the set's that is missing."""
        return ""

    @abc.abstractmethod
    def annotation(self, id: str) -> Annotation:
        """Return what the image shows. Raises `DataError`."""

    def image(self, id: str) -> Image.Image:
        """Return the photo in RGB, a smaller copy if it has more than `WORKING_PIXELS`.

        Raises `DataError` when it is missing or can't be decoded.
        """
        path = self.image_path(id)
        return open_photo(read_bytes(path), path, WORKING_PIXELS, whole=False).image

    def mask(self, id: str) -> Mask:
        """Return uint8[H, W] in 0..C and 255, of the size of `image`; objects of classes that are not in use
        are 255.

        Raises `DataError` for a file that can't be decoded, is no palette PNG, or holds other ids.
        """
        path = self.mask_path(id)
        mask = decode_mask(read_bytes(path), path)
        problem = mask_id_problem(path, ids_in(mask), self)
        if problem:
            raise DataError(problem)
        return self._remap[shrink_mask(mask)]

    def labels(self, ids: Sequence[str]) -> Labels:
        """Return uint8[N, C], 1 where the image shows the class.

        Raises one `DataError` with the problems of all annotations.
        """
        problems: list[Problem] = []
        column = {name: index for index, name in enumerate(self.classes)}
        labels = np.zeros((len(ids), len(self.classes)), np.uint8)
        for row, id in enumerate(ids):
            try:
                names = self.annotation(id).names
            except DataError as error:
                problems += error.problems
                continue
            labels[row, [column[name] for name in names if name in column]] = 1
        if problems:
            raise DataError(problems)
        return labels


def mask_id_problem(path: Path, ids: Sequence[int] | npt.NDArray[Any], dataset: PhotoSet) -> Problem | None:
    """Return what is wrong with the ids in a mask on disk, if anything is.

    Args:
        path: the mask.
        ids: those that occur in it.
        dataset: knows which may.
    """
    count = len(dataset.known_classes)
    bad = [int(id) for id in ids if count < id != IGNORED]
    if not bad:
        return None
    text = ", ".join(map(str, bad[:8])) + (", …" if len(bad) > 8 else "")
    message = f"mask holds the ids {text}, but they must be in [0, {count}] or {IGNORED}"
    return Problem(str(path), message, f"the data set has {count} classes, and class k has id k")


def is_safe(id: str) -> bool:
    """Whether an id can't lead out of a folder, and can be written wherever ids are."""
    if not id or any(part in id for part in ("/", "\\", "..")):
        return False
    return id.isprintable() or not any(unicodedata.category(c) in ("Cc", "Cs") for c in id)


def _select(known: tuple[str, ...], wanted: Literal["all"] | Sequence[str]) -> tuple[str, ...]:
    if wanted == "all":
        return known
    if isinstance(wanted, str):
        raise ConfigError(Problem("data.classes", f"is {wanted!r}, but must be 'all' or a list"))
    wanted = tuple(map(tidy, wanted))
    problems = [unknown_class("data.classes", name, known) for name in wanted if name not in known]
    problems += [] if wanted else [Problem("data.classes", "is empty, but must name a class")]
    if problems:
        raise ConfigError(problems)
    return tuple(name for name in known if name in wanted)
