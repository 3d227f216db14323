"""Which photo of a folder a table or a list means: names with and without endings, in any spelling."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from wsss.data.pictures.opening import PHOTO_ENDINGS, is_photo
from wsss.data.tables.text import nearest_name, tidy


class PhotoNames(Mapping[str, str]):
    """The photos of a folder by id.

    Args:
        place: the folder.
        files: id → file name; the order of the photos.
    """

    def __init__(self, place: Path, files: Mapping[str, str]) -> None:
        self.place = place
        self._files = files
        self._by_spelling = _by_spelling(files)

    def __getitem__(self, id: str) -> str:
        return self._files[id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def path(self, id: str) -> Path:
        """Return the path of a photo."""
        return self.place / self._files[id]

    def id_of(self, written: str) -> str | None:
        """Return the id of a photo that is named with or without its ending, None where there is none."""
        return written if written in self._files else self._by_spelling.get(_spelling(written))

    def hint(self, written: str) -> str:
        """Return what helps with a name that is no photo's: what lies there instead, or the nearest name."""
        if there := _what_is_there(self.place / written):
            return f"it is there, but {there}"
        names = list(self._files.values())
        hint = nearest_name(written, names)
        alike = hint.startswith("did you mean")
        return hint if alike else f"there are {len(names)} photos, {names[0]} for one"


def _what_is_there(path: Path) -> str:
    """Return why what lies at a path is not what is looked for, "" when nothing lies there."""
    if len(path.name) > 255 or not os.path.lexists(path):
        return ""
    if not path.is_file():
        return kind_of(path)
    if is_photo(path):
        return "another photo has this name with another ending"
    if path.name[0] == ".":
        return "files whose names begin with a dot are no photos"
    return f"photos end in {', '.join(PHOTO_ENDINGS)}"


def kind_of(path: Path) -> str:
    """Say what is there in place of what is looked for."""
    if path.is_symlink() and not path.exists():
        return "is a link that leads nowhere"
    if path.is_file():
        return "is a file"
    return "is a folder" if path.is_dir() else "is no regular file"


def file_name(line: str) -> str:
    """Return the file's name in a list's line; folders before it don't matter, as in tables."""
    return PurePosixPath(line.replace("\\", "/")).name


def _spelling(name: str) -> str:
    """Return a file's name as it is compared: what is seen of it, its ending in small letters."""
    path = PurePosixPath(tidy(name))
    return path.stem + path.suffix.lower() if path.suffix.lower() in PHOTO_ENDINGS else path.name


def _by_spelling(photos: Mapping[str, str]) -> dict[str, str]:
    """Return spelling, with and without ending, → id, of the spellings that stand for one photo only."""
    ids: dict[str, set[str]] = {}
    for id, name in photos.items():
        ids.setdefault(_spelling(name), set()).add(id)
        ids.setdefault(tidy(id), set()).add(id)
    return {spelling: next(iter(found)) for spelling, found in ids.items() if len(found) == 1}
