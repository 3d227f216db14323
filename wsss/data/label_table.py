"""Tables of image-level labels: CSV in its natural forms, and JSON.

CSV, told apart by its heading:

    image,label          one label a row, an image may have several rows
    image,labels         several labels in a cell, separated by ';' or '|'
    image,cat,dog        a column per class, 1 where the image shows it, 0 or nothing where not

JSON: `{"a.jpg": ["cat", "dog"]}` or `[{"image": "a.jpg", "labels": ["cat"]}]`.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from wsss.data.decode import read_bytes
from wsss.errors import DataError, Problem

IMAGE_WORDS = ("image", "filename", "file", "photo", "id")
LABEL_WORDS = ("label", "labels", "class", "classes")
YES, NO = ("1", "1.0", "true", "yes"), ("", "0", "0.0", "false", "no")
FORMS = "expected image,label or image,labels or a column per class: image,cat,dog"


@dataclass
class LabelTable:
    """Photo, as the table names it but without folders, → its classes in alphabetical order.

    `places` says where each photo was named first; `columns` are the classes in the order of their
    columns, empty when the table has no such order; `problems` is what is wrong with its content.
    """

    path: Path
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    problems: list[Problem] = field(default_factory=list)
    _written: dict[str, str] = field(default_factory=dict)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the columns, or else the names that occur, in alphabetical order."""
        return self.columns or tuple(sorted({name for names in self.labels.values() for name in names}))

    def add(self, written: Any, names: Iterable[Any], where: str, *, again: bool) -> None:
        """Add labels of a photo; with `again` it may have been named before."""
        words = [str(name).strip() for name in names if name is not None]
        odd = not isinstance(written, str) or not PurePosixPath(written.replace("\\", "/")).name
        if odd:
            self.problems.append(Problem(where, f"image is {written!r}, but must be a file name"))
            return
        photo = PurePosixPath(written.strip().replace("\\", "/")).name
        if photo in self.labels and not again:
            self.problems.append(Problem(where, f"image {photo!r} was labelled before", self.places[photo]))
            return
        other = self._written.setdefault(photo, written)
        if other != written:
            message = f"{written!r} and {other!r} would be the same image"
            self.problems.append(Problem(where, message, "photos are told apart by their file names alone"))
            return
        self.places.setdefault(photo, where)
        self.labels[photo] = tuple(sorted({*self.labels.get(photo, ()), *filter(None, words)}))


def read_labels(path: Path) -> LabelTable:
    """Return a table's labels. Raises `DataError` when the file can't be read or has no known form."""
    content = read_bytes(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(Problem(f"{path}:{line}", "is not UTF-8", "save it as UTF-8")) from error
    if path.suffix.lower() == ".json":
        return _read_json(path, text)
    if path.suffix.lower() in (".csv", ".tsv"):
        return _read_csv(path, text)
    raise DataError(Problem(str(path), f"labels end in {path.suffix!r}, but must be .csv, .tsv or .json"))


def _read_csv(path: Path, text: str) -> LabelTable:
    first = text.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)  # a tie is a comma
    reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(row)]
    except csv.Error as error:
        raise DataError(Problem(f"{path}:{reader.line_num}", f"is no valid CSV: {error}")) from error
    if not rows:
        raise DataError(Problem(str(path), "is empty", FORMS))
    heading = rows[0][1]
    if len(heading) < 2 or heading[0].lower() not in IMAGE_WORDS:
        shown = separator.join(heading)[:80]
        message = f"the heading is {shown!r}, but its first column must be one of {', '.join(IMAGE_WORDS)}"
        raise DataError(Problem(f"{path}:1", message, FORMS))
    table = LabelTable(path)
    for line, row in rows[1:]:
        if len(row) != len(heading):
            message = f"has {len(row)} cells, but the heading has {len(heading)}"
            hint = "put a cell into quotes when it holds the separator" if len(row) > len(heading) else ""
            table.problems.append(Problem(f"{path}:{line}", message, hint))
    whole = [(line, row) for line, row in rows[1:] if len(row) == len(heading)]
    if len(heading) == 2 and heading[1].lower() in LABEL_WORDS:
        _add_words(table, whole)
    else:
        _add_columns(table, whole, heading[1:])
    return table


def _add_words(table: LabelTable, rows: Sequence[tuple[int, list[str]]]) -> None:
    for line, (image, cell) in rows:
        table.add(image, cell.replace("|", ";").split(";"), f"{table.path}:{line}", again=True)
    if table.class_names and set(table.class_names) <= {"0", "1"}:
        hint = "name the column after the class that it tells of"
        table.problems.append(Problem(str(table.path), "the labels are 0 and 1, not names", hint))


def _add_columns(table: LabelTable, rows: Sequence[tuple[int, list[str]]], classes: Sequence[str]) -> None:
    table.columns = tuple(classes)
    for line, (image, *cells) in rows:
        where = f"{table.path}:{line}"
        shown = []
        for name, cell in zip(classes, cells, strict=True):
            if cell.lower() in YES:
                shown.append(name)
            elif cell.lower() not in NO:
                message = f"column {name!r} is {cell!r}, but must be 0 or 1"
                table.problems.append(Problem(where, message, FORMS))
        table.add(image, shown, where, again=False)


def _read_json(path: Path, text: str) -> LabelTable:
    table = LabelTable(path)

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        counts = Counter(key for key, _ in found)
        twice = [key for key, count in counts.items() if count > 1]
        table.problems.extend(Problem(str(path), f"key {key!r} occurs twice") for key in twice)
        return dict(found)

    try:
        content = json.loads(text, object_pairs_hook=pairs)
    except ValueError as error:
        raise DataError(Problem(str(path), f"is no valid JSON: {error}")) from error
    if isinstance(content, dict):
        entries = [(image, names, repr(image)) for image, names in content.items()]
    elif isinstance(content, list):
        entries = [(*_entry(item), f"entry {number}") for number, item in enumerate(content, 1)]
    else:
        entries = []
    if not entries:
        hint = 'expected {"a.jpg": ["cat"]} or [{"image": "a.jpg", "labels": ["cat"]}]'
        raise DataError(Problem(str(path), "holds no labels", hint))
    for image, names, place in entries:
        words = [names] if isinstance(names, str) else names
        where = f"{path}, {place}"
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            message = f"labels are {names!r}, but must be a list of names"
            table.problems.append(Problem(where, message))
        else:
            table.add(image, words, where, again=isinstance(content, list))
    return table


def _entry(item: Any) -> tuple[Any, Any]:
    """Return image and labels of one object of a list, None for what it lacks."""
    if not isinstance(item, dict):
        return None, []
    found = {str(key).lower(): value for key, value in item.items()}
    image = next((found[word] for word in IMAGE_WORDS if word in found), None)
    return image, next((found[word] for word in LABEL_WORDS if word in found), None)
