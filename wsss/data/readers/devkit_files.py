"""The files of a devkit's folders by id, and lists of ids as they are found in the wild."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from wsss.data.photo_set import is_safe
from wsss.data.tables.text import capped, composed, numbered_lines, quote
from wsss.errors import DataError, Problem

PHOTO_FOLDER, MASK_FOLDER = "JPEGImages", "SegmentationClass"
ENDINGS = (".jpg", ".jpeg", ".png", ".xml")
"""Endings that are no part of an id, though there be no such photo."""
MOST_HINTS = 10


class FilesById:
    """The files of one folder by id: name without ending, accents in either form, endings in any capitals.

    The first look-up reads the folder; each process reads it for itself.

    Args:
        folder: of the files.
        ending: the usual one, with its dot.
        any_ending: whether a file of another ending serves where there is none of the usual one.
    """

    def __init__(self, folder: Path, ending: str, *, any_ending: bool = False) -> None:
        self.folder = folder
        self._ending = ending
        self._any_ending = any_ending
        self._hints = 0

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_names"}

    def __contains__(self, id: str) -> bool:
        return any(self._serves(name) for name in self._names.get(id, ()))

    def path(self, id: str) -> Path:
        """Return the file; where there is none, the one that is expected. Raises `DataError` for several."""
        expected = f"{id}{self._ending}"
        names = self._names.get(id, ())
        if expected in names:
            return self.folder / expected
        found = [name for name in names if self._serves(name)]
        usual = [name for name in found if name.lower().endswith(self._ending)]
        chosen = usual or found
        if len(chosen) > 1:
            message = f"there are {' and '.join(map(quote, chosen[:4]))}, but must be one file of that name"
            raise DataError(Problem(str(self.folder / id), message, f"keep one, best as {quote(expected)}"))
        return self.folder / (chosen[0] if chosen else expected)

    def hint(self, id: str) -> str:
        """Return what there is in place of a missing file; after the first of them nothing, as looking
        for one takes its time."""
        self._hints += 1
        if self._hints > MOST_HINTS or not self._names:
            return "" if self._names else f"{self.folder.name} is empty"
        there = self._names.get(id)
        if there:
            return f"{quote(there[0])} is there, but must end in {self._ending}"
        twins = [
            name for key, names in self._names.items() if key.casefold() == id.casefold() for name in names
        ]
        alike = twins or [
            self._names[key][0] for key in difflib.get_close_matches(id[:100], list(self._names), 1, 0.8)
        ]
        return f"did you mean {quote(alike[0])}?" if alike else ""

    def _serves(self, name: str) -> bool:
        return self._any_ending or name.lower().endswith(self._ending)

    @cached_property
    def _names(self) -> dict[str, list[str]]:
        names: dict[str, list[str]] = {}
        try:
            found = sorted(os.listdir(self.folder))
        except OSError:
            found = []
        for name in found:
            if name[0] != ".":
                names.setdefault(composed(PurePosixPath(name).stem), []).append(name)
        return names


def read_devkit_list(path: Path, is_photo: Callable[[str], bool]) -> tuple[str, ...]:
    """Return the ids of a list, in its order. Raises one `DataError` of all problems, with their lines.

    A line is an id, with or without an ending, or the photo's path, as in
    "/JPEGImages/a.jpg /SegmentationClass/a.png"; lines that begin with # are left out. `is_photo` says
    whether there is a photo of an id, so that ids may hold blanks and dots.
    """
    problems: list[Problem] = []
    ids: dict[str, int] = {}
    lines = [(n, line) for n, line in numbered_lines(path) if line[0] != "#" or is_photo(line)]
    for number, line in lines:
        id, message, hint = _id_of(line, is_photo)
        if not message and id in ids:
            message, hint = f"id {quote(id)} occurs twice", f"also in line {ids[id]}"
        if message:
            problems.append(Problem(f"{path}:{number}", message, hint))
        else:
            ids[id] = number
    if not lines:
        problems.append(Problem(str(path), "list is empty"))
    if problems:
        raise DataError(capped(problems, str(path)))
    return tuple(ids)


def _id_of(line: str, is_photo: Callable[[str], bool]) -> tuple[str, str, str]:
    """Return a line's id, or what is wrong with the line and a hint."""
    if is_safe(line) and is_photo(line):
        return line, "", ""
    whole, *others = _columns(line, is_photo)
    id = _bare(whole, (PHOTO_FOLDER,), is_photo)
    if id is None:
        hint = f"or a path like /{PHOTO_FOLDER}/ID.jpg"
        return "", f"id is {quote(whole)}, but must be a bare file name", hint
    masks = [_bare(other, (MASK_FOLDER,), is_photo) for other in others if "/" in other or "." in other]
    if len(others) > 1 or len(masks) < len(others):
        hint = "one id a line, or a photo and its mask: /JPEGImages/ID.jpg /SegmentationClass/ID.png"
        return "", f"line is {quote(line)}, {len(others) + 1} columns, but must be one id", hint
    if masks and masks[0] != id:
        return "", f"mask is {quote(others[0])}, but must be {MASK_FOLDER}/{id}.png, like the photo", ""
    return id, "", ""


def _columns(line: str, is_photo: Callable[[str], bool]) -> list[str]:
    """Return what is separated by blanks, commas or semicolons, with "/" in paths. Ids have blanks, too:
    only what looks like a path, is an id, or is a flag behind one, is a column."""
    words = line.replace("\\", "/").replace(",", " ").replace(";", " ").split()
    paths = all("/" in word or word.lower().endswith(ENDINGS) or is_photo(word) for word in words)
    flag = len(words) == 2 and words[1] in ("-1", "0", "1")
    return words if words and (paths or flag) else [line.replace("\\", "/")]


def _bare(written: str, folders: Iterable[str], is_photo: Callable[[str], bool]) -> str | None:
    """Return the id in a file's name or path, None for a path that leads elsewhere than to `folders`."""
    path = PurePosixPath(written)
    if ".." in path.parts or not path.name:
        return None
    if len(path.parts) > 1 and not path.parent.name.startswith(tuple(folders)):
        return None
    name = path.name
    if not is_photo(name) and (is_photo(path.stem) or name.lower().endswith(ENDINGS)):
        name = path.stem
    return name if is_safe(name) else None
