"""Data sets in COCO's layout: photos in folders, instances in JSON files.

FOLDER/annotations/instances_train2014.json    and instances_val2014.json, or of other years and lists
FOLDER/train2014/*.jpg                         or FOLDER/images/train2014/*.jpg

Labels are the classes of an image's annotations, crowds and small objects included. Lists have the images
that are annotated at all, as those of the field do: 82,081 of train2014, 40,137 of val2014.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from wsss.data.photo_set import Labels, PhotoSet
from wsss.data.readers.annotations import Annotation
from wsss.data.readers.coco_index import coco_index
from wsss.data.readers.coco_masks import draw_mask
from wsss.data.tables.text import nearest_name, quote
from wsss.errors import DataError, Problem
from wsss.files import writing

ANNOTATIONS, BEGIN = "annotations", "instances_"
MASKS = "masks"


def instance_files(root: Path) -> list[tuple[str, Path]]:
    """Return name and file of every list, in alphabetical order: "train2014" of instances_train2014.json."""
    found = sorted((root / ANNOTATIONS).glob(f"{BEGIN}*.json")) if root.is_dir() else []
    return [(path.stem.removeprefix(BEGIN), path) for path in found if path.is_file()]


class CocoDataset(PhotoSet):
    """A folder in COCO's layout. Raises `DataError` for one that isn't, or whose files are wrong, and
    `ConfigError` for unknown classes.

    Masks are drawn when they are asked for first, and kept as PNGs beside the index of the annotations.

    Args:
        root: the folder with `annotations`.
        classes: those to use; they keep the order of the categories' numbers.
        cache: where index and masks are kept.
    """

    def __init__(self, root: Path, classes: Literal["all"] | Sequence[str] = "all", *, cache: Path) -> None:
        root = root.absolute()
        files = instance_files(root)
        if not files:
            message = f"has no {ANNOTATIONS}/{BEGIN}NAME.json, so it is no folder of COCO's"
            hint = f"expected {ANNOTATIONS}/{BEGIN}train2014.json and photos in train2014/"
            raise DataError(Problem(str(root), message, hint))
        self._files = dict(files)
        self._index = coco_index(files, cache.absolute())
        super().__init__(root, self._index.classes, classes)
        self._rows = {Path(name).stem: row for row, name in enumerate(self._index.names)}
        self._columns = [self.known_classes.index(name) for name in self.classes]
        self._folders = [_photo_folder(root, name) for name in self._index.list_names]

    # Lists

    def split_names(self) -> tuple[str, ...]:
        """Return the names of the lists without their year, `train` and `val`, unless it tells two apart."""
        return tuple(self._names())

    def _names(self) -> dict[str, int]:
        short = [name.rstrip("0123456789") or name for name in self._index.list_names]
        return {
            brief if short.count(brief) == 1 else name: number
            for number, (brief, name) in enumerate(zip(short, self._index.list_names, strict=True))
        }

    def split(self, name: str) -> tuple[str, ...]:
        """Return the ids of a list, the photos' names without their ending, of those that are annotated.

        Raises `DataError` when there is no such list, or nothing in it is annotated.
        """
        names = self._names()
        number = names.get(name)
        if number is None and name in self._index.list_names:
            number = self._index.list_names.index(name)
        if number is None:
            where = self.root / ANNOTATIONS / f"{BEGIN}{name}.json"
            hint = f"{nearest_name(name, names)}; lists: {', '.join(names)}"
            raise DataError(Problem(str(where), "list is missing", hint))
        annotated = np.diff(self._index.starts) > 0
        rows = np.flatnonzero((self._index.lists == number) & annotated)
        if not len(rows):
            path = self._files[self._index.list_names[number]]
            raise DataError(Problem(str(path), "list is empty: nothing is annotated"))
        return tuple(Path(self._index.names[row]).stem for row in rows)

    def tables(self) -> tuple[Path, ...]:
        return tuple(self._files.values())

    # Files

    def _row(self, id: str) -> int:
        row = self._rows.get(id)
        if row is None:
            raise DataError(Problem(str(self.root / ANNOTATIONS), f"no image is named {quote(id)}"))
        return row

    def image_path(self, id: str) -> Path:
        row = self._row(id)
        return self._folders[int(self._index.lists[row])] / self._index.names[row]

    def mask_path(self, id: str) -> Path:
        """Return the mask as a PNG, drawn from the annotations if it isn't there. Raises `DataError` for
        annotations that can't be drawn."""
        path = self._index.folder / MASKS / f"{id}.png"
        if not path.is_file():
            row = self._row(id)
            width, height = self._index.sizes[row].tolist()
            try:
                mask = draw_mask(self._index.annotations(row), width, height)
            except ValueError as error:
                raise DataError(Problem(f"{self.annotation_path(id)}, image {id}", str(error))) from error
            from wsss.masks.images import write_mask  # drawing is rare, and of another room

            with writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                write_mask(path, mask)
        return path

    def has_mask(self, id: str) -> bool:
        return True

    def annotation_path(self, id: str) -> Path:
        return self._files[self._index.list_names[int(self._index.lists[self._row(id)])]]

    def missing_hint(self, path: Path) -> str:
        if path.parent in self._folders and not path.parent.is_dir():
            return f"there is no folder {path.parent.name}/: fetch the photos, or unpack them there"
        return ""

    # Labels

    def annotation(self, id: str) -> Annotation:
        """Return what the image shows, crowds included."""
        row = self._row(id)
        names = [self.known_classes[k] for k in np.flatnonzero(self._index.labels[row])]
        width, height = self._index.sizes[row].tolist()
        return Annotation(tuple(sorted(names)), (width, height))

    def labels(self, ids: Sequence[str]) -> Labels:
        rows = [self._row(id) for id in ids]
        found: Labels = self._index.labels[np.ix_(rows, self._columns)] if rows else self._none()
        return found

    def _none(self) -> Any:
        return np.zeros((0, len(self.classes)), np.uint8)


def _photo_folder(root: Path, name: str) -> Path:
    """Return the folder of a list's photos: its own, or that below `images`."""
    return root / "images" / name if (root / "images" / name).is_dir() else root / name
