"""Which photos the command line means, what their results are called, and reading them upright."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wsss.data.pictures.decode import decode_photo
from wsss.data.pictures.opening import is_photo, read_bytes
from wsss.errors import ConfigError, Problem, nearest


@dataclass(frozen=True)
class Photo:
    """A photo to be segmented. `name` is what its results' file names begin with."""

    path: Path
    name: str


def find_photos(arguments: Sequence[Path]) -> list[Path]:
    """Return the files that paths stand for, in their order, each once.

    A folder stands for the files directly inside it with an image's ending, in the order of their names.
    Raises `ConfigError` with all paths that don't exist and all folders without an image.
    """
    problems, found = [], dict[Path, Path]()
    for argument in arguments:
        if argument.is_dir():
            inside = _images_in(argument)
            if not inside:
                problems.append(Problem(str(argument), "there is no image in this folder"))
        elif argument.is_file():
            inside = [argument]
        else:
            inside = []
            problems.append(
                Problem(str(argument), "there is no such file or folder", _nearest_file(argument))
            )
        for path in inside:
            found.setdefault(path.resolve(), path)
    if problems:
        raise ConfigError(problems)
    return list(found.values())


def _images_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if is_photo(path))


def _nearest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return ""
    hint = nearest(path.name, sorted(other.name for other in path.parent.iterdir() if other.is_file()))
    return hint if hint.startswith("did you mean") else ""


def name_photos(paths: Sequence[Path]) -> list[Photo]:
    """Give every photo a name of its own: its stem, as a rule.

    Equal stems get the file's ending (cat_jpg, cat_png) when they lie in one folder, and as many of their
    folders' names as make them differ (a_cat, b_cat) when they don't. Names that differ in capitals alone
    count as equal, as some file systems ignore capitals.
    """
    beside = Counter((path.resolve().parent, path.stem.casefold()) for path in paths)
    stems = {
        path: f"{path.stem}_{path.suffix[1:].lower()}"
        if beside[path.resolve().parent, path.stem.casefold()] > 1
        else path.stem
        for path in paths
    }
    levels = dict.fromkeys(paths, 0)
    deepest = max((len(path.resolve().parts) for path in paths), default=0)
    for _ in range(deepest + 1):
        names = {path: "_".join([*_folders(path, levels[path]), stems[path]]) for path in paths}
        count = Counter(_taken(names.values()))
        clashing = [path for path in paths if any(count[name] > 1 for name in _taken([names[path]]))]
        for path in clashing:
            levels[path] += 1
        if not clashing:
            break
    # Folders and names may be joined to the same text (a/b_c and a_b/c): numbers distinguish the rest.
    taken: set[str] = set()
    photos = []
    for path in paths:
        name, number = names[path], 1
        while taken & set(_taken([name])):
            number += 1
            name = f"{names[path]}_{number}"
        taken |= set(_taken([name]))
        photos.append(Photo(path, name))
    return photos


def _taken(names: Iterable[str]) -> list[str]:
    """Return the stems of all files that results of these names have."""
    return [stem for name in names for stem in (name.casefold(), f"{name}_overlay".casefold())]


def _folders(path: Path, count: int) -> tuple[str, ...]:
    folders = path.resolve().parent.parts[1:]
    return folders[max(0, len(folders) - count) :]


def read_photo(path: Path) -> npt.NDArray[np.uint8]:
    """Return a photo as RGB uint8[H, W, 3], upright, read as training reads it. Raises `DataError`."""
    return np.array(decode_photo(read_bytes(path), path))
