"""Which photos the command line means, what their results are called, and reading them upright."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from wsss.data.decode import UNREADABLE, read_bytes
from wsss.errors import ConfigError, DataError, Problem, nearest

NO_PHOTOS = ("EPS", "WMF", "MPEG", "PDF")
"""What Pillow hands to other programs, or only recognises."""
ORIENTATION = 0x0112
TURNED = (5, 6, 7, 8)


@dataclass(frozen=True)
class Photo:
    """A photo to be segmented. `name` is what its results' file names begin with."""

    path: Path
    name: str


@cache
def photo_formats() -> tuple[tuple[str, ...], frozenset[str]]:
    """Return the formats that photos may have and their file endings, in small letters."""
    endings = Image.registered_extensions()
    formats = tuple(name for name in Image.OPEN if name not in NO_PHOTOS)
    return formats, frozenset(ending for ending, name in endings.items() if name in formats)


def find_photos(arguments: Sequence[Path]) -> list[Path]:
    """Return the files that paths stand for, in their order, each once.

    A folder stands for the images directly inside it, told by their endings, in the order of their names.
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
    _, endings = photo_formats()
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in endings and not path.name.startswith(".") and path.is_file()
    )


def _nearest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return ""
    hint = nearest(path.name, sorted(other.name for other in path.parent.iterdir()))
    return hint if hint.startswith("did you mean") else ""


def name_photos(paths: Sequence[Path]) -> list[Photo]:
    """Give every photo a name of its own: its stem, as a rule.

    Equal stems get the file's ending (cat_jpg, cat_png) when they lie in one folder, and as many of their
    folders' names as tell them apart (a_cat, b_cat) when they don't. Capitals don't tell names apart, as
    some file systems ignore them.
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
    # Folders and names may be joined to the same text (a/b_c and a_b/c): numbers tell the rest apart.
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


def photo_size(path: Path) -> tuple[int, int]:
    """Return a photo's upright (height, width), read from its header alone. Raises `DataError`."""
    try:
        with Image.open(path, formats=photo_formats()[0]) as image:
            width, height = image.size
            turned = image.getexif().get(ORIENTATION) in TURNED
    except UNREADABLE as error:
        raise _unreadable(path, error) from error
    return (width, height) if turned else (height, width)


def read_photo(path: Path) -> npt.NDArray[np.uint8]:
    """Return a photo as RGB uint8[H, W, 3], turned upright as its EXIF data say.

    Greys of 16 bits are brought to 8. Raises `DataError` for what Pillow can't read.
    """
    content = read_bytes(path)
    try:
        with Image.open(io.BytesIO(content), formats=photo_formats()[0]) as image:
            image.load()
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I;16"):
                return np.repeat((np.asarray(upright) >> 8).astype(np.uint8)[..., None], 3, axis=2)
            if upright.mode in ("I", "F"):
                message = f"has pixels of mode {upright.mode}, whose range isn't known"
                raise DataError(Problem(str(path), message, "save it with 8 bits a channel"))
            return np.array(upright.convert("RGB"))
    except UNREADABLE as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: BaseException) -> DataError:
    reason = "no image format known to Pillow" if isinstance(error, UnidentifiedImageError) else error
    return DataError(Problem(str(path), f"can't be read as a photo: {reason}"))
