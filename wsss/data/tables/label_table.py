"""Image-level labels as a table has them, and all that is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from wsss.data.tables.class_names import class_name_problems, split_labels
from wsss.data.tables.text import MOST_LISTED, composed, quote, tidy
from wsss.errors import Problem

IMAGE_WORDS = ("image", "filename", "file", "photo", "id")
LABEL_WORDS = ("label", "labels", "class", "classes")
MOST_PLACES = 6
"""Lines that are named of problems that are alike."""


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
