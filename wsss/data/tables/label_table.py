"""Tables of image-level labels: CSV in its natural forms, and JSON (`wsss.data.tables.label_json`).

CSV, of three kinds by its heading:

    image,label          one label a row, an image may have several rows
    image,labels         several labels in a cell, separated by ';', '|' or ','
    image,cat,dog        a column per class, 1 where the image shows it, 0 or nothing where not
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from wsss.data.tables.class_names import MOST_CLASSES, class_name_problems, split_labels
from wsss.data.tables.text import MOST_LISTED, composed, quote, read_text, tidy
from wsss.errors import DataError, Problem

IMAGE_WORDS = ("image", "filename", "file", "photo", "id")
LABEL_WORDS = ("label", "labels", "class", "classes")
YES, NO = ("1", "1.0", "true", "yes"), ("", "0", "0.0", "false", "no")
FORMS = "expected image,label or image,labels or a column per class: image,cat,dog"
MOST_PLACES = 6
"""Lines that are named of problems that are alike."""
ONE_COLUMN = "one column of labels is expected"

Rows = Iterable[tuple[int, list[str]]]


@dataclass
class LabelTable:
    """Photos, as the table names them but without folders, with their classes in alphabetical order.

    `places` says where each photo was named first, `named` where each class was; `columns` are the
    classes in the order of their columns, empty when the table has no such order.
    """

    path: Path
    places: dict[str, str] = field(default_factory=dict)
    named: dict[str, str] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    _names: dict[str, set[str]] = field(default_factory=dict)
    _written: dict[str, str] = field(default_factory=dict)
    _unread: set[str] = field(default_factory=set)
    _found: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    _counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _more: int = 0

    @property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """Return photo → its classes, in the order of the table."""
        return {photo: tuple(sorted(names)) for photo, names in self._names.items()}

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the columns, or else the names that occur, in alphabetical order."""
        return self.columns or tuple(sorted(self.named))

    @property
    def problems(self) -> list[Problem]:
        """What is wrong with the content; problems alike are one, which says where else they are."""
        problems = []
        for (message, hint), places in self._found.items():
            joint = "; " if any("," in place for place in places) else ", "
            others = [place.removeprefix(f"{self.path}:") for place in places[1:]]
            more = self._counts[message, hint] - len(places)
            again = (
                f"also in line {joint.join(others)}" + (f" and {more:,} more" if more else "")
                if others
                else ""
            )
            problems.append(Problem(places[0], message, "; ".join(filter(None, (hint, again)))))
        if self._more:
            problems.append(Problem(str(self.path), f"and {self._more:,} more problems"))
        return problems

    def refuse(self, where: str, message: str, hint: str = "") -> None:
        """Note a problem; only count it when many are known, or some that are just like it.

        Args:
            where: the line or the row.
            message: what is wrong.
            hint: what to do.
        """
        kind = message, hint
        if kind not in self._found and len(self._found) >= MOST_LISTED:
            self._more += 1
            return
        places = self._found.setdefault(kind, [])
        self._counts[kind] += 1
        if len(places) < MOST_PLACES:
            places.append(where)

    def add(self, written: Any, cells: Iterable[str], where: str, *, again: bool) -> None:
        """Add a photo's labels as they are written, several in a cell.

        Args:
            written: the photo's name.
            cells: of its labels.
            where: the line or the row, for messages.
            again: whether the photo may have been named before.
        """
        photo = self._photo(written, where, again=again)
        names: set[str] = set()
        for cell in cells:
            words, found = split_labels(cell)
            if found:
                self.refuse(where, *found)
                self._unread.add(photo or "")
            names.update(words)
        if photo is not None:
            self._put(photo, names, where)

    def add_names(self, written: Any, names: Iterable[str], where: str) -> None:
        """Add the labels of a photo that was not named before.

        Args:
            written: the photo's name.
            names: of the classes.
            where: the line or the entry, for messages.
        """
        photo = self._photo(written, where, again=False)
        if photo is not None:
            self._put(photo, {*names}, where)

    def add_unread(self, written: Any, where: str) -> None:
        """Note that a photo is named where its labels can't be read, so that it doesn't count as missing."""
        if isinstance(written, str) and (photo := self._photo(written, where, again=True)) is not None:
            self._unread.add(photo)
            self._put(photo, set(), where)

    def _photo(self, written: Any, where: str, *, again: bool) -> str | None:
        """Return the file's name, or None when it is none or may not be named here."""
        path = (
            PurePosixPath(composed(written.strip().replace("\\", "/"))) if isinstance(written, str) else None
        )
        photo = tidy(path.name) if path and path.name != ".." else ""
        if path is None or not photo:
            self.refuse(where, f"image is {quote(written)}, but must be a file name")
            return None
        if photo in self._names and not again:
            self.refuse(where, f"image {quote(photo)} was labelled before", self.places[photo])
            return None
        other = self._written.setdefault(photo, str(path))
        if other != str(path):
            message = f"{quote(str(path))} and {quote(other)} would be the same image"
            self.refuse(where, message, "photos must differ in their file names")
            return None
        return photo

    def _put(self, photo: str, names: set[str], where: str) -> None:
        before = self._names.get(photo)
        if before is not None and bool(names) != bool(before) and photo not in self._unread:
            message = f"image {quote(photo)} has labels in one row and an empty label in another"
            self.refuse(where, message, self.places[photo])
        self.places.setdefault(photo, where)
        for name in names:
            self.named.setdefault(name, where)
        self._names.setdefault(photo, set()).update(names)

    def class_problems(self) -> list[Problem]:
        """Return what is wrong with the names of the classes when nothing but this table lists them."""
        names = self.class_names
        if not names and self._found:
            return []  # that there is none follows from those
        places = [self.named[name] for name in names]
        return class_name_problems(names, str(self.path), places, implied=not self.columns)


def read_labels(path: Path) -> LabelTable:
    """Return a table's labels. Raises `DataError` when the file can't be read or has no known form."""
    from wsss.data.tables.label_json import read_json_labels

    ending = path.suffix.lower()
    if ending == ".json":
        return read_json_labels(path)
    if ending in (".csv", ".tsv"):
        return _read_csv(path, read_text(path))
    raise DataError(Problem(str(path), f"labels end in {ending!r}, but must be .csv, .tsv or .json"))


def _read_csv(path: Path, text: str) -> LabelTable:
    rows = _rows(path, text)
    number, heading = next(rows, (0, []))
    heading = [tidy(name) for name in heading]
    if not heading:
        raise DataError(Problem(str(path), "is empty", FORMS))
    place = f"{path}:{number}"
    while len(heading) > 2 and not heading[-1]:
        heading.pop()  # spreadsheets save empty columns
    words = [word.lower() for word in heading]
    if len(heading) == 1 and words[0] in IMAGE_WORDS:
        raise DataError(
            Problem(place, f"the heading is {quote(heading[0])}, but must name labels, too", FORMS)
        )
    if len(heading) < 2 or words[0] not in IMAGE_WORDS:
        shown = quote(",".join(heading[:50]))
        message = f"the heading is {shown}, but its first column must be one of {', '.join(IMAGE_WORDS)}"
        hint = (
            "leave the column of row numbers out" if not words[0] and set(words) & {*IMAGE_WORDS} else FORMS
        )
        if len(heading) == 1 and heading[0].startswith(IMAGE_WORDS):
            hint = f"separate cells by , ; or tabs; {FORMS}"
        raise DataError(Problem(place, message, hint))
    labelled = [number for number, word in enumerate(words) if number and word in LABEL_WORDS]
    if labelled and len(heading) > 2:
        others = [name for number, name in enumerate(heading) if number and number != labelled[0]]
        message = f"{ONE_COLUMN}, but beside {heading[labelled[0]]!r} there is {_listed(others)}"
        hint = "leave the others out; several labels of an image stand in one cell, cat;dog"
        raise DataError(Problem(place, message, hint))
    table = LabelTable(path)
    whole = _whole(table, rows, len(heading))
    if labelled:
        for line, (image, cell) in whole:
            table.add(image, [cell], f"{path}:{line}", again=True)
        if table.named and {name.lower() for name in table.named} <= {*YES, *NO}:
            hint = "name the column after its class"
            table.refuse(place, "the labels are 0 and 1, not names", hint)
    else:
        _add_columns(table, whole, heading[1:], place)
    return table


def _rows(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that hold something, each with the number of its first line."""
    skipped = 0
    if text[:4].lower() == "sep=":  # a line for spreadsheets
        separator, skipped = text[4:5], 1
        text = text.partition("\n")[2]
    else:
        first = next((line for line in text.split("\n", 50)[:50] if line.strip()), "")
        separator = max(",;\t", key=first.count)  # a tie is a comma
    if separator not in (",", ";", "\t"):
        raise DataError(
            Problem(f"{path}:1", f"cells are separated by {separator!r}, but must be by , ; or tabs")
        )
    reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
    line = 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield line + skipped, [cell.strip() for cell in row]
            line = reader.line_num + 1
    except csv.Error as error:
        reason = str(error)
        if "field larger" in reason:
            reason = f"a cell is longer than {csv.field_size_limit():,} characters: is a quote left open?"
        elif "unexpected end of data" in reason:
            reason = "a quote is left open"
        raise DataError(Problem(f"{path}:{line + skipped}", f"is no valid CSV: {reason}")) from error


def _whole(table: LabelTable, rows: Rows, width: int) -> Rows:
    for line, row in rows:
        while len(row) > width and not row[-1]:
            row.pop()
        if len(row) == width:
            yield line, row
            continue
        message = f"has {len(row)} cell{'s' * (len(row) != 1)}, but the heading has {width}"
        hint = "put a cell into quotes when it holds the separator" if len(row) > width else ""
        table.refuse(f"{table.path}:{line}", message, hint)
        table.add_unread(row[0], f"{table.path}:{line}")


def _add_columns(table: LabelTable, rows: Rows, heading: Sequence[str], place: str) -> None:
    if len(heading) > MOST_CLASSES:
        message = f"the heading names {len(heading):,} classes, but must name 1 to {MOST_CLASSES}"
        raise DataError(Problem(place, message, FORMS))
    classes = list(heading)
    if "" in classes:
        raise DataError(Problem(place, f"column {classes.index('') + 2} has no name", FORMS))
    table.columns = tuple(classes)
    table.named.update(dict.fromkeys(classes, place))
    numbers, texts = [0] * len(classes), dict[int, tuple[str, str]]()
    for line, (image, *cells) in rows:
        where = f"{table.path}:{line}"
        shown = []
        for index, cell in enumerate(cells):
            word = tidy(cell).lower()
            numbers[index] += bool(word) and word in (*YES, *NO)
            if word in YES:
                shown.append(classes[index])
            elif word not in NO:
                texts.setdefault(index, (where, cell))
                hint = FORMS if word not in ("-1", "nan") else "1 where the image shows it, 0 where not"
                table.refuse(
                    where, f"column {quote(classes[index])} is {quote(cell)}, but must be 0 or 1", hint
                )
        table.add_names(image, shown, where)
    wordy = [index for index in texts if not numbers[index]]
    if wordy:
        where, cell = texts[wordy[0]]
        what = f"column {classes[wordy[0]]!r} is {quote(cell)}" + (
            f", and {_listed([classes[index] for index in wordy[1:]])} no numbers either" if wordy[1:] else ""
        )
        message = f"{what}, but a column per class holds 0 and 1"
        hint = f"{ONE_COLUMN}, called label, where labels are words; leave other columns out"
        raise DataError(Problem(where, message, hint))


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(quote(name) for name in names[:5])
    return f"{shown} and {len(names) - 5:,} more" if len(names) > 5 else shown
