"""Data sets in PASCAL VOC devkit layout: photos, masks, and image-level labels from the XML files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from wsss.data.annotations import read_annotation
from wsss.data.decode import decode_mask, decode_photo, read_bytes
from wsss.errors import ConfigError, DataError, Problem, nearest

VOC_CLASSES: tuple[str, ...] = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train"),
    "tvmonitor",
)
"""PASCAL VOC's 20 foreground classes; the one at position k (from 1) has id k in masks."""
IGNORED = 255
FOLDERS = ("JPEGImages", "Annotations", "SegmentationClass", "ImageSets/Segmentation")

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
        """Return the photo in RGB."""

    def mask(self, id: str) -> Mask:
        """Return uint8[H, W] in 0..C and 255; objects of classes that are not in use are 255."""

    def labels(self, ids: Sequence[str]) -> Labels:
        """Return uint8[N, C], 1 where the image shows the class."""


class VocDataset:
    """A devkit folder. Names of classes come from its `classes.txt` (line k names mask id k), or are
    PASCAL VOC's. With `classes`, only those are used, in the order that the data set has them.

    Raises `DataError` for a folder that isn't a devkit, and `ConfigError` for unknown classes.
    """

    def __init__(self, root: Path, classes: Literal["all"] | Sequence[str] = "all") -> None:
        self.root = root.absolute()
        self._check_layout()
        self.known_classes: tuple[str, ...] = _class_names(self.root)
        """Every class of the data set, in use or not: what masks on disk count."""
        self.classes: tuple[str, ...] = _select(self.known_classes, classes)
        self._names: dict[str, tuple[str, ...]] = {}
        self._remap = np.full(256, IGNORED, np.uint8)
        self._remap[0] = 0
        for source, target in self.class_ids.items():
            self._remap[source] = target

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_names": {}}  # other processes read the annotations they need

    def _check_layout(self) -> None:
        missing = [name for name in FOLDERS if not (self.root / name).is_dir()]
        if missing:
            message = f"is no VOC devkit folder: it lacks {', '.join(missing)}"
            inside = self.root / "VOCdevkit" / "VOC2012"
            hint = f"did you mean {inside}?" if inside.is_dir() else f"expected {', '.join(FOLDERS)}"
            raise DataError(Problem(str(self.root), message, hint))

    @property
    def class_ids(self) -> dict[int, int]:
        """Id in masks on disk → id in masks read through this data set, for the classes in use."""
        return {self.known_classes.index(name) + 1: k for k, name in enumerate(self.classes, 1)}

    # Lists

    def split_names(self) -> tuple[str, ...]:
        """Return the names of the lists that exist, in alphabetical order."""
        return tuple(sorted(path.stem for path in self._lists.glob("*.txt")))

    def split(self, name: str) -> tuple[str, ...]:
        """Return the ids of a list, in its order.

        Raises `DataError` when there is no such list, when it is empty, names an image twice, or
        holds an id that would lead out of the folder.
        """
        path = self._lists / f"{name}.txt"
        names = self.split_names()
        if name not in names:
            hint = (
                f"{nearest(name, names)}; lists: {', '.join(names)}" if names else "there is no list at all"
            )
            raise DataError(Problem(str(path), "list is missing", hint))
        ids = _lines(path)
        problems = [Problem(str(path), "list is empty")] if not ids else []
        seen: set[str] = set()
        for id in ids:
            if not _is_safe(id):
                problems.append(Problem(str(path), f"id is {id!r}, but must be a bare file name"))
            elif id in seen:
                problems.append(Problem(str(path), f"id {id!r} occurs twice"))
            seen.add(id)
        if problems:
            raise DataError(problems)
        return tuple(ids)

    @property
    def _lists(self) -> Path:
        return self.root / "ImageSets" / "Segmentation"

    # Files

    def image_path(self, id: str) -> Path:
        return self._path("JPEGImages", id, ".jpg")

    def mask_path(self, id: str) -> Path:
        return self._path("SegmentationClass", id, ".png")

    def annotation_path(self, id: str) -> Path:
        return self._path("Annotations", id, ".xml")

    def _path(self, folder: str, id: str, ending: str) -> Path:
        if not _is_safe(id):
            raise DataError(Problem(str(self.root), f"id is {id!r}, but must be a bare file name"))
        return self.root / folder / f"{id}{ending}"

    # Contents

    def image(self, id: str) -> Image.Image:
        """Return the photo in RGB. Raises `DataError` when it is missing or can't be decoded."""
        path = self.image_path(id)
        return decode_photo(read_bytes(path), path)

    def mask(self, id: str) -> Mask:
        """Return uint8[H, W] in 0..C and 255; objects of classes that are not in use are 255.

        Raises `DataError` for a file that can't be decoded, is no palette PNG, or holds other ids.
        """
        path = self.mask_path(id)
        mask = decode_mask(read_bytes(path), path)
        problem = mask_id_problem(path, np.flatnonzero(np.bincount(mask.ravel(), minlength=256)), self)
        if problem:
            raise DataError(problem)
        return self._remap[mask]

    def labels(self, ids: Sequence[str]) -> Labels:
        """Return uint8[N, C], 1 where an object of the class is annotated, difficult ones included.

        Raises one `DataError` with the problems of all annotations.
        """
        problems: list[Problem] = []
        for id in ids:
            if id not in self._names:
                try:
                    self._names[id] = read_annotation(self.annotation_path(id), self.known_classes).names
                except DataError as error:
                    problems += error.problems
        if problems:
            raise DataError(problems)
        column = {name: index for index, name in enumerate(self.classes)}
        labels = np.zeros((len(ids), len(self.classes)), np.uint8)
        for row, id in enumerate(ids):
            for name in self._names[id]:
                if name in column:
                    labels[row, column[name]] = 1
        return labels


def mask_id_problem(path: Path, ids: Sequence[int] | npt.NDArray[Any], dataset: VocDataset) -> Problem | None:
    """Return what is wrong with the ids that occur in a mask on disk, if anything is."""
    count = len(dataset.known_classes)
    bad = [int(id) for id in ids if count < id != IGNORED]
    if not bad:
        return None
    text = ", ".join(map(str, bad[:8])) + (", …" if len(bad) > 8 else "")
    return Problem(str(path), f"mask holds the ids {text}, but they must be in [0, {count}] or {IGNORED}")


def _is_safe(id: str) -> bool:
    return bool(id) and not any(part in id for part in ("/", "\\", "..", "\0"))


def _lines(path: Path) -> list[str]:
    text = read_bytes(path).decode("utf-8-sig", errors="replace")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _class_names(root: Path) -> tuple[str, ...]:
    path = root / "classes.txt"
    if not path.is_file():
        return VOC_CLASSES
    names = _lines(path)
    problems = [Problem(str(path), f"class {name!r} occurs twice") for name in names if names.count(name) > 1]
    if not 1 <= len(names) < IGNORED:
        problems.append(Problem(str(path), f"names {len(names)} classes, but must name 1 to {IGNORED - 1}"))
    if "background" in names:
        problems.append(Problem(str(path), "names 'background', but must name foreground classes only"))
    if problems:
        raise DataError(dict.fromkeys(problems))
    return tuple(names)


def _select(known: tuple[str, ...], wanted: Literal["all"] | Sequence[str]) -> tuple[str, ...]:
    if wanted == "all":
        return known
    if isinstance(wanted, str):
        raise ConfigError(Problem("data.classes", f"is {wanted!r}, but must be 'all' or a list"))
    problems = [
        Problem("data.classes", f"class is {name!r}, but must be one of the data set's", nearest(name, known))
        for name in wanted
        if name not in known
    ]
    problems += [] if wanted else [Problem("data.classes", "is empty, but must name a class")]
    if problems:
        raise ConfigError(problems)
    return tuple(name for name in known if name in wanted)
