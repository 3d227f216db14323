"""What COCO's instance files say, image by image, brought once into a form that opens in a moment.

`instances_train2014.json` has 330 MB; parsed as a whole it takes gigabytes, in every process. Here it streams
through: memory grows with the number of images and annotations, not with their outlines, and no single one
may be larger than any outline is.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from wsss.data.photo_set import is_safe
from wsss.data.pictures.opening import MOST_PIXELS
from wsss.data.readers.coco_file import objects_of
from wsss.data.tables.class_names import MOST_CLASSES
from wsss.data.tables.text import MOST_LISTED, quote, tidy
from wsss.errors import DataError, Problem
from wsss.files import read_json, write_json, writing

VERSION = 1
"""Raised when the same files come to give another index, or other masks."""
MOST_IMAGES = 4_000_000
MOST_ANNOTATIONS = 40_000_000
INDEX, LINES, ABOUT = "index.npz", "annotations.jsonl", "about.json"


@dataclass(frozen=True)
class CocoIndex:
    """Images in the order of the files, with what they show.

    `names` are the photos' file names, `lists` the number of each one's list, `sizes` int64[N, 2] (width,
    height), `labels` uint8[N, C]. The annotations of image i begin at `places[starts[i]:starts[i + 1]]`, in
    bytes of a file of one annotation a line.
    """

    folder: Path
    classes: tuple[str, ...]
    list_names: tuple[str, ...]
    names: tuple[str, ...]
    lists: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    labels: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]

    def annotations(self, image: int) -> list[tuple[int, float, int, Any]]:
        """Return (class from 1, area, annotation's id, segmentation) of an image, as the file orders them."""
        found = []
        with (self.folder / LINES).open("rb") as file:
            for place in self.places[self.starts[image] : self.starts[image + 1]].tolist():
                file.seek(place)
                found.append(tuple(json.loads(file.readline())))
        column = {number: k for k, number in enumerate(read_json(self.folder / ABOUT)["numbers"], 1)}
        return [(column[number], area, id, shape) for number, area, id, shape in found]


def coco_index(files: Sequence[tuple[str, Path]], cache: Path) -> CocoIndex:
    """Return the index of instance files, written to `cache` when it isn't there yet.

    Raises one `DataError` with all that is wrong in them.

    Args:
        files: name of the list, and the file, of each.
        cache: a folder for indices and masks of any files.
    """
    stamps = [(name, str(path), path.stat().st_size, path.stat().st_mtime_ns) for name, path in files]
    folder = cache / f"coco-{hashlib.sha256(repr((VERSION, stamps)).encode()).hexdigest()[:16]}"
    if not (folder / ABOUT).is_file():
        _write(files, folder)
    return _open(folder)


def _open(folder: Path) -> CocoIndex:
    about = read_json(folder / ABOUT)
    with np.load(folder / INDEX, allow_pickle=False) as arrays:
        count = len(about["classes"])
        return CocoIndex(
            folder,
            tuple(about["classes"]),
            tuple(about["lists"]),
            tuple(arrays["names"].tolist()),
            arrays["lists"],
            arrays["sizes"],
            np.unpackbits(arrays["labels"], axis=1)[:, :count],
            arrays["starts"],
            arrays["places"],
        )


def _write(files: Sequence[tuple[str, Path]], folder: Path) -> None:
    """Write an index aside, and put it in its place whole; another process may have been faster."""
    aside = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    with writing(folder):
        aside.mkdir(parents=True)
        try:
            with (aside / LINES).open("wb") as lines:
                read = _Read(lines)
                for number, (_, path) in enumerate(files):
                    read.file(number, path)
            arrays, about = read.result([name for name, _ in files])
            np.savez(aside / INDEX, allow_pickle=False, **arrays)
            write_json(aside / ABOUT, about)
            if not folder.exists():
                try:
                    aside.rename(folder)
                except OSError:
                    if not (folder / ABOUT).is_file():
                        raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)


@dataclass
class _Read:
    """What was read so far, of all files."""

    lines: IO[bytes]
    categories: dict[int, str] = field(default_factory=dict)
    rows: dict[tuple[int, int], int] = field(default_factory=dict)
    """(file, id of the image) → its row."""
    names: list[str] = field(default_factory=list)
    stems: set[str] = field(default_factory=set)
    lists: array[int] = field(default_factory=lambda: array("q"))
    sizes: array[int] = field(default_factory=lambda: array("q"))
    owners: array[int] = field(default_factory=lambda: array("q"))
    numbers: array[int] = field(default_factory=lambda: array("q"))
    places: array[int] = field(default_factory=lambda: array("q"))
    ids: array[int] = field(default_factory=lambda: array("q"))
    problems: list[Problem] = field(default_factory=list)

    def file(self, number: int, path: Path) -> None:
        """Read an instance file, and link its annotations with its images, which may come later in it."""
        first, seen, own = len(self.owners), set[str](), dict[int, str]()
        for section, one in objects_of(path):
            seen.add(section)
            if section == "categories":
                self._category(path, one, own)
            elif section == "images":
                self._image(number, path, one)
            else:
                self._annotation(path, one)
            if len(self.problems) > MOST_LISTED:
                break
        missing = [name for name in ("images", "categories") if name not in seen]
        if missing and not self.problems:
            message = f"has no {' and no '.join(missing)}, but must be a file of COCO's instances"
            self._refuse(str(path), message)
        if not self.categories:
            self.categories = own
        elif own and own != self.categories and not self.problems:
            self._refuse(str(path), "has other categories than the file before it")
        for k in range(first, len(self.owners)):
            row = self.rows.get((number, self.owners[k]))
            if row is None:
                self._refuse(f"{path}, annotation {self.ids[k]}", f"there is no image {self.owners[k]}")
            elif self.numbers[k] not in self.categories:
                self._refuse(f"{path}, annotation {self.ids[k]}", f"there is no category {self.numbers[k]}")
            self.owners[k] = -1 if row is None else row
            if len(self.problems) > MOST_LISTED:
                break
        if self.problems:
            raise DataError([*self.problems[:MOST_LISTED], *self._more(path)])

    def _more(self, path: Path) -> list[Problem]:
        return [Problem(str(path), "and more problems")] if len(self.problems) > MOST_LISTED else []

    def _refuse(self, where: str, message: str) -> None:
        self.problems.append(Problem(where, message))

    def _category(self, path: Path, one: dict[str, Any], own: dict[int, str]) -> None:
        number: Any = one.get("id")
        name: Any = one.get("name")
        if not _is_count(number) or not isinstance(name, str) or not tidy(name):
            where = f"{path}, category {quote(number)}"
            self._refuse(where, f"is named {quote(name)}, but must have an `id` and a `name`")
        elif number in own or tidy(name) in own.values():
            self._refuse(f"{path}, category {number}", f"{quote(name)} occurs twice")
        elif len(own) == MOST_CLASSES:
            self._refuse(str(path), f"has more than {MOST_CLASSES} categories, which masks can't number")
        else:
            own[number] = tidy(name)

    def _image(self, file: int, path: Path, one: dict[str, Any]) -> None:
        number: Any = one.get("id")
        name: Any = one.get("file_name")
        size: tuple[Any, Any] = (one.get("width"), one.get("height"))
        where = f"{path}, image {quote(number)}"
        if not _is_count(number) or (file, number) in self.rows:
            self._refuse(where, "occurs twice" if _is_count(number) else "`id` must be a whole number")
        elif not isinstance(name, str) or not is_safe(name) or name.startswith(".") or "." not in name:
            self._refuse(where, f"`file_name` is {quote(name)}, but must be a bare file name")
        elif not all(_is_count(side) and side for side in size) or size[0] * size[1] > MOST_PIXELS:
            shown = " × ".join(map(quote, size))
            self._refuse(where, f"is {shown} pixels, but must be 1 to {MOST_PIXELS:,} in all")
        elif Path(name).stem in self.stems:
            self._refuse(where, f"photo {quote(name)} has the name of another")
        elif len(self.names) == MOST_IMAGES:
            raise DataError(Problem(str(path), f"has more than {MOST_IMAGES:,} images"))
        else:
            self.rows[file, number] = len(self.names)
            self.names.append(name)
            self.stems.add(Path(name).stem)
            self.lists.append(file)
            self.sizes.extend(size)

    def _annotation(self, path: Path, one: dict[str, Any]) -> None:
        number: Any = one.get("id")
        owner: Any = one.get("image_id")
        category: Any = one.get("category_id")
        area, shape = one.get("area", 0), one.get("segmentation")
        where = f"{path}, annotation {quote(number)}"
        wrong = [
            name
            for name, value in (("id", number), ("image_id", owner), ("category_id", category))
            if not _is_count(value)
        ]
        if wrong:
            self._refuse(where, f"`{wrong[0]}` is {quote(one.get(wrong[0]))}, but must be a whole number")
        elif not isinstance(area, int | float) or isinstance(area, bool):
            self._refuse(where, f"`area` is {quote(area)}, but must be a number")
        elif not isinstance(shape, list | dict):
            self._refuse(
                where, f"`segmentation` is {quote(shape)}, but must be polygons or a run-length code"
            )
        elif len(self.owners) == MOST_ANNOTATIONS:
            raise DataError(Problem(str(path), f"has more than {MOST_ANNOTATIONS:,} annotations"))
        else:
            self.owners.append(owner)
            self.numbers.append(category)
            self.ids.append(number)
            self.places.append(self.lines.tell())
            self.lines.write(json.dumps([category, area, number, shape]).encode() + b"\n")

    def result(self, lists: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the arrays of an index, and what is said of all images."""
        numbers = sorted(self.categories)
        owners = np.frombuffer(self.owners, np.int64) if self.owners else np.zeros(0, np.int64)
        columns = np.searchsorted(numbers, np.frombuffer(self.numbers, np.int64)) if self.owners else owners
        count = len(self.names)
        labels = np.zeros((count, len(numbers)), np.uint8)
        labels[owners, columns] = 1
        order = np.argsort(owners, kind="stable")
        arrays = {
            "names": np.array(self.names, dtype=str),
            "lists": np.frombuffer(self.lists, np.int64) if count else np.zeros(0, np.int64),
            "sizes": np.frombuffer(self.sizes, np.int64).reshape(-1, 2)
            if count
            else np.zeros((0, 2), np.int64),
            "labels": np.packbits(labels, axis=1),
            "starts": np.searchsorted(owners[order], np.arange(count + 1)),
            "places": np.frombuffer(self.places, np.int64)[order] if self.owners else owners,
        }
        names = [self.categories[number] for number in numbers]
        return arrays, {"classes": names, "numbers": numbers, "lists": list(lists), "version": VERSION}


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62
