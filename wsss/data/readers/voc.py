"""Data sets in PASCAL VOC devkit layout: photos, masks, and image-level labels from the XML files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from wsss.data.photo_set import Labels, PhotoSet, is_safe
from wsss.data.readers.annotations import Annotation, read_annotation, unknown_classes
from wsss.data.readers.devkit_files import FilesById, read_devkit_list
from wsss.data.tables.class_names import read_class_names
from wsss.data.tables.text import nearest_name, quote
from wsss.errors import DataError, Problem

VOC_CLASSES: tuple[str, ...] = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train"),
    "tvmonitor",
)
"""PASCAL VOC's 20 foreground classes; the one at position k (from 1) has id k in masks."""
FOLDERS = ("JPEGImages", "Annotations", "SegmentationClass", "ImageSets/Segmentation")
CLASSES_FILE = "classes.txt"


class VocDataset(PhotoSet):
    """A devkit folder. Names of classes come from its `classes.txt` (line k names mask id k), or are
    PASCAL VOC's.

    Raises `DataError` for a folder that isn't a devkit, and `ConfigError` for unknown classes.

    Args:
        root: the folder with `JPEGImages`, `Annotations`, `SegmentationClass` and `ImageSets`.
        classes: those to use; they keep the order that the data set has them in.

    Examples:
        >>> import tempfile
        >>> from wsss.data.sample.data_set import write_sample
        >>> root = Path(tempfile.mkdtemp()) / "sample"
        >>> write_sample(root, train=3, val=1, size=32)
        >>> dataset = VocDataset(root, classes=["deer", "lion"])
        >>> ids = dataset.split("train")
        >>> ids[0], dataset.image(ids[0]).size, dataset.mask(ids[0]).shape
        ('sample_000001', (32, 28), (28, 32))
        >>> dataset.labels(ids).tolist()
        [[0, 0], [1, 0], [0, 1]]
    """

    def __init__(self, root: Path, classes: Literal["all"] | Sequence[str] = "all") -> None:
        root = root.absolute()
        _check_layout(root)
        super().__init__(root, _class_names(root), classes)
        self._photos = FilesById(root / "JPEGImages", ".jpg", any_ending=True)
        self._masks = FilesById(root / "SegmentationClass", ".png")
        self._notes = FilesById(root / "Annotations", ".xml")
        self._annotations: dict[str, Annotation] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_annotations": {}}  # other processes read the annotations they need

    # Lists

    def split_names(self) -> tuple[str, ...]:
        """Return the names of the lists that exist, in alphabetical order."""
        return tuple(sorted(path.stem for path in self._lists.glob("*.txt") if path.name[0] != "."))

    def split(self, name: str) -> tuple[str, ...]:
        """Return the ids of a list, in its order: one a line, bare, with an ending, or as the photo's
        path, which its mask's may follow.

        Raises `DataError` when there is no such list, when it is empty, names an image twice, or
        holds an id that would lead out of the folder.
        """
        path = self._lists / f"{name}.txt"
        names = self.split_names()
        if name not in names:
            hint = (
                f"{nearest_name(name, names)}; lists: {', '.join(names)}"
                if names
                else "there is no list at all"
            )
            raise DataError(Problem(str(path), "list is missing", hint))
        return read_devkit_list(path, self._photos.__contains__)

    def tables(self) -> tuple[Path, ...]:
        names = self.root / CLASSES_FILE
        lists = (self._lists / f"{name}.txt" for name in self.split_names())
        return (*lists, *([names] if names.is_file() else []))

    @property
    def _lists(self) -> Path:
        return self.root / "ImageSets" / "Segmentation"

    # Files

    def image_path(self, id: str) -> Path:
        """Return the photo, with any ending. Raises `DataError` for two with the id's name."""
        return self._path(self._photos, id)

    def mask_path(self, id: str) -> Path:
        return self._path(self._masks, id)

    def has_mask(self, id: str) -> bool:
        return True

    def annotation_path(self, id: str) -> Path:
        return self._path(self._notes, id)

    def missing_hint(self, path: Path) -> str:
        for files in (self._photos, self._masks, self._notes):
            if path.parent == files.folder:
                return files.hint(path.stem)
        return ""

    def _path(self, files: FilesById, id: str) -> Path:
        if not is_safe(id):
            raise DataError(Problem(str(self.root), f"id is {quote(id)}, but must be a bare file name"))
        return files.path(id)

    # Labels

    def annotation(self, id: str) -> Annotation:
        """Return what the image shows, difficult and truncated objects included. Raises `DataError`."""
        if id not in self._annotations:
            self._annotations[id] = read_annotation(self.annotation_path(id), self.known_classes)
        return self._annotations[id]

    def labels(self, ids: Sequence[str]) -> Labels:
        """Return uint8[N, C], 1 where an object of the class is annotated, difficult ones included.

        Raises one `DataError` with the problems of all annotations.
        """
        try:
            return super().labels(ids)
        except DataError:
            foreign = self.foreign_classes(ids)
            if foreign:
                raise DataError(foreign) from None
            raise

    def foreign_classes(self, ids: Sequence[str]) -> Problem | None:
        """Return what to do when there is no `classes.txt` and the annotations are not of PASCAL VOC's
        classes; None for names that look like slips of the pen."""
        path = self.root / CLASSES_FILE
        if path.is_file():
            return None
        found: dict[str, str] = {}
        for id in ids:
            try:
                names = read_annotation(self.annotation_path(id)).names
            except DataError:
                continue  # reported where it is read
            found |= {name: id for name in names if name not in found}
        foreign = unknown_classes(found, self.known_classes)
        if all(nearest_name(name, self.known_classes).startswith("did you mean") for name in foreign):
            return None
        first = foreign[0]
        message = (
            f"is missing, so the classes are PASCAL VOC's, but the annotations name {len(foreign)} others, "
            f"{first!r} in {found[first]}.xml for one"
        )
        every = sorted(found)
        listed = ", ".join(every[:MOST_NAMES]) + (", …" if len(every) > MOST_NAMES else "")
        hint = f"write the classes into it, one a line, line k for mask id k; the annotations name {listed}"
        return Problem(str(path), message, hint)


MOST_NAMES = 30


def _check_layout(root: Path) -> None:
    missing = [name for name in FOLDERS if not (root / name).is_dir()]
    if missing:
        message = f"is no VOC devkit folder: it lacks {', '.join(missing)}"
        inside = root / "VOCdevkit" / "VOC2012"
        hint = f"did you mean {inside}?" if inside.is_dir() else f"expected {', '.join(FOLDERS)}"
        if "JPEGImages" in missing and not inside.is_dir():
            hint += "; for a folder of photos with a table of labels say `dataset: folder`"
        raise DataError(Problem(str(root), message, hint))


def _class_names(root: Path) -> tuple[str, ...]:
    path = root / CLASSES_FILE
    return read_class_names(path) if os.path.lexists(path) else VOC_CLASSES
