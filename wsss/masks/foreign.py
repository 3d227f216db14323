"""CAMs and masks that other programs wrote (PSA, IRN, SEAM, MCTformer, …), read without trusting them.

Classes in these files are 0-based positions in the data set's list of classes.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.lib.format as npy
import numpy.typing as npt
from PIL import Image

from wsss.data.decode import decode_mask, read_bytes
from wsss.errors import DataError, Problem
from wsss.masks.foreign_pickle import read_pickled

ENDINGS = {"cams": (".npy", ".npz"), "masks": (".png",)}
MOST_PROBLEMS = 20
SHOWN = 20
FULL_SIZE, STRIDED = ("high_res", "hr_cam", "cams"), "cam"
"""Names of maps [n, H, W], best first: IRN's, its forks', that in `.npz`; and of [n, ⌈H/4⌉, ⌈W/4⌉]."""
NORMALISED = 1 + 1e-3
EPSILON = 1e-5
"""Added to a map's maximum before dividing by it, as PSA and IRN do."""
LARGEST_HEADER = 2**16
MOST_ARRAYS = 16
"""Bytes before an array's numbers, and arrays in a `.npz`, at most: more are a trap."""


def foreign_files(folder: Path, ids: Sequence[str], kind: Literal["cams", "masks"]) -> dict[str, Path]:
    """Return each id's file: `<id>.npy` or `<id>.npz` for CAMs, `<id>.png` for masks.

    Raises one `DataError` for all ids whose file is missing, ambiguous or outside `folder`.

    Args:
        folder: where the files are.
        ids: of the images, bare file names.
        kind: what the files hold.
    """
    endings, other = ENDINGS[kind], "masks" if kind == "cams" else "cams"
    expected = "expected " + " or ".join(f"<id>{ending}" for ending in endings)
    try:
        names = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise _error(folder, f"folder can't be listed: {error.strerror}", expected) from error
    files: dict[str, Path] = {}
    problems: list[Problem] = []
    for id in ids:
        paths = [folder / f"{id}{ending}" for ending in endings]
        found = [path for path in paths if path.name in names]
        if paths[0].parent != folder:
            problems.append(Problem(str(folder), f"id is {id!r}, but must be a bare file name"))
        elif len(found) > 1:
            problems.append(Problem(str(paths[0]), f"{found[1].name} exists too", "move one of them away"))
        elif not found:
            problems.append(Problem(str(paths[0]), "file is missing", expected))
        else:
            files[id] = found[0]
    if len(problems) > MOST_PROBLEMS:
        problems[MOST_PROBLEMS:] = [Problem(str(folder), f"and {len(problems) - MOST_PROBLEMS} more")]
    kinds = {name for name, endings in ENDINGS.items() if any(file.endswith(endings) for file in names)}
    if problems and kinds == {other}:
        hint = f"for {other}, say `import: {{{other}: …}}` instead"
        problems.insert(0, Problem(str(folder), f"holds {'/'.join(ENDINGS[other])} files, no {kind}", hint))
    if problems:
        raise DataError(problems)
    return files


def read_foreign_mask(path: Path, classes: int, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Return the ids uint8[H, W] in 0..`classes` of a palette or 8-bit grey PNG.

    Raises `DataError` for anything else, and for 255: a prediction needs a label everywhere.

    Args:
        path: the file.
        classes: how many classes the data set has, without the background.
        size: the photo's (H, W).
    """
    content = read_bytes(path)
    mask = decode_mask(content, path)
    if mask.shape != size:
        raise _error(path, f"mask is {list(mask.shape)}, but must be {list(size)} like its photo")
    bad = [int(id) for id in np.unique(mask) if id > classes]
    if bad:
        message = f"mask holds the ids {', '.join(map(str, bad))}, but they must be in [0, {classes}]"
        raise _error(path, message, "predictions need a label everywhere, so no 255" if 255 in bad else "")
    return mask


def read_cams(
    path: Path,
    classes: int | Sequence[str],
    size: tuple[int, int],
    present: npt.ArrayLike,
    shown: tuple[int, int] | None = None,
    *,
    missing: Literal["error", "zero"] = "error",
) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.int64]]:
    """Return the maps of the classes in `present`, float16[n, H, W] in [0, 1], and their keys int64[n].

    Args:
        path: the file.
        classes: the data set's classes, or how many there are.
        size: the photo's (H, W).
        present: the 0-based classes that its labels name. Keys ascend; maps of other classes are dropped.
        shown: maps are brought to this (H, W), bilinearly; None means `size`.
        missing: whether a file may lack the map of one of them: with "zero" it is empty, and the numbers of
            classes are believed.

    A `.npy` holds a dict, `{class: float[H, W]}` or `{"keys": int[n], "cam": float[n, ⌈H/4⌉, ⌈W/4⌉],
    "high_res": float[n, H, W]}`; a `.npz` holds the latter, or `keys` and `cams` float[n, H, W]. `keys` may
    be 0 for the background and then classes counted from 1, so one more than there are maps. Maps at a
    quarter of the size are used where there are no others, and upsampled bilinearly.
    If any map of the file exceeds 1.001, each is divided by (its maximum + 1e-5). All are clipped to 1.

    Raises `DataError` for a file that can't be read safely, and for maps of other shapes, with values that
    are negative or not finite, or of classes outside [0, `classes`), and with "error" for a class in
    `present` without a map, and where all numbers are one too high.
    """
    names = [] if isinstance(classes, int) else list(classes)
    classes = classes if isinstance(classes, int) else len(classes)
    keys = np.unique(np.asarray(present, np.int64))
    file = io.BytesIO(read_bytes(path))
    try:
        content = _arrays(file, classes, size) if path.suffix == ".npz" else read_pickled(file)
        pairs, strided = _layout(content, path)
    except DataError:
        raise
    except Exception as error:  # numpy, zipfile and pickle raise a dozen kinds for damaged bytes
        raise _error(path, f"can't be read: {error or type(error).__name__}") from error
    shape = (-(-size[0] // 4), -(-size[1] // 4)) if strided else size
    _check_classes([key for key, _ in pairs], keys.tolist(), names, classes, path, missing)
    messages = [_problem(key, values, shape) for key, values in pairs]
    if any(messages):
        raise DataError([Problem(str(path), message) for message in messages if message])
    maps = {key: values.astype(np.float32, copy=False) for key, values in pairs}
    height, width = shown or size
    cams = np.zeros((len(keys), height, width), np.float32)
    for cam, key in zip(cams, keys, strict=True):
        if key in maps:
            image = Image.fromarray(maps[key])
            # Maps of full size stay as they are.
            cam[:] = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    if any(values.max() > NORMALISED for values in maps.values()):
        cams /= cams.max(axis=(1, 2), keepdims=True) + EPSILON
    return cams.clip(0, 1).astype(np.float16), keys


def _check_classes(
    held: Sequence[int],
    named: Sequence[int],
    names: Sequence[str],
    classes: int,
    path: Path,
    missing: Literal["error", "zero"],
) -> None:
    """Refuse classes that the data set doesn't have, and numbers that can't be its positions."""
    outside = [key for key in held if not 0 <= key < classes]
    gaps = [key for key in named if key not in held]
    from_one = set(held) - {0} >= {key + 1 for key in named}
    # {0: background, 1: …}: every number is there, and each means the class before. A file of all classes
    # looks like that, too.
    behind = set(held) == {0, *(key + 1 for key in named)} and set(held) not in ({*named}, {*range(classes)})
    wrong = [
        f"holds class {key}, but classes must be in [0, {classes - 1}], without background" for key in outside
    ]
    if outside:
        message = wrong.pop()
    elif missing == "error" and (gaps or behind):
        message = f"has no map of {_listed(gaps, names)}" if gaps else "seems to count classes from 1"
    else:
        return
    hint = "1-based? Classes are counted from 0, without the background" if from_one and named else ""
    if not outside and not hint:
        hint = "a real gap is a map of zeros, or say `missing: zero`"
    elif behind and not outside and not gaps:
        hint += "; if the numbers are right, say `missing: zero`"
    lists = f"; it holds {_listed(held, names)}, its labels name {_listed(named, names)}"
    problems = [Problem(str(path), one) for one in wrong[:MOST_PROBLEMS]]
    raise DataError([*problems, Problem(str(path), message + lists, hint)])


def _listed(keys: Sequence[int], names: Sequence[str]) -> str:
    """Return classes for people: "3 (bird), 14 (person)"."""
    listed = [f"{key} ({names[key]})" if 0 <= key < len(names) else str(key) for key in sorted(keys)[:SHOWN]]
    return ", ".join(listed) + (f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else "") or "none"


def _problem(key: int, values: Any, shape: tuple[int, int]) -> str:
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f" or values.shape != shape:
        return f"map of class {key} is {_kind(values)}, but must be float{list(shape)}"
    with np.errstate(over="ignore"):
        bad = values[~(np.isfinite(values.astype(np.float32)) & (values >= 0))]
    return f"map of class {key} holds {bad[0]}, but values must be finite and at least 0" if bad.size else ""


def _layout(content: Any, path: Path) -> tuple[list[tuple[int, Any]], bool]:
    """Return (class, map) pairs, not yet checked, and whether the maps are at a quarter of the size."""
    if not isinstance(content, dict):
        raise _error(path, f"holds {_kind(content)}, but must hold a dict of maps")
    if all(isinstance(key, int | np.integer) for key in content):
        return [(int(np.int64(key)), values) for key, values in content.items()], False
    name = next((name for name in (*FULL_SIZE, STRIDED) if name in content), "")
    if "keys" not in content or not name:
        names = f"'keys' and one of {', '.join((*FULL_SIZE, STRIDED))}"
        raise _error(path, f"holds {str(list(content))[:99]}, but must hold classes, or {names}")
    keys, maps = content["keys"], content[name]
    if not (isinstance(keys, np.ndarray) and keys.dtype.kind in "iu" and keys.ndim == 1):
        raise _error(path, f"keys is {_kind(keys)}, but must be int[n]")
    if not (isinstance(maps, np.ndarray) and maps.ndim == 3):
        raise _error(path, f"{name} is {_kind(maps)}, but must be float[n, H, W]")
    listed = keys.tolist()
    if len(listed) == len(maps) + 1 and listed[0] == 0:
        listed = [key - 1 for key in listed[1:]]
    if len(set(listed)) != len(listed) or len(listed) != len(maps):
        raise _error(
            path, f"{name} holds {len(maps)} maps of the classes {str(listed)[:99]}, not one of each"
        )
    return list(zip(listed, maps, strict=True)), name == STRIDED


def _arrays(file: io.BytesIO, classes: int, size: tuple[int, int]) -> Any:
    most = classes * size[0] * size[1] * np.dtype(np.float64).itemsize + LARGEST_HEADER
    arrays = {}
    with zipfile.ZipFile(file) as archive:
        if len(archive.namelist()) > MOST_ARRAYS:
            raise ValueError(f"it holds {len(archive.namelist())} arrays, but may hold {MOST_ARRAYS}")
        for name in archive.namelist():
            with archive.open(name) as member:
                content = member.read(most + 1)  # the size that the archive states may be a lie
            if len(content) > most:
                maps = f"{classes} maps of {size[0]} × {size[1]} pixels"
                raise ValueError(f"{name} holds more than {most} bytes, all that {maps} can take")
            arrays[name.removesuffix(".npy")] = npy.read_array(io.BytesIO(content), allow_pickle=False)
    return arrays or np.zeros(0)  # no arrays at all aren't meant, unlike a dict without maps


def _kind(value: Any) -> str:
    is_array = isinstance(value, np.ndarray)
    return f"{value.dtype}{list(value.shape)}" if is_array else f"of type {type(value).__name__}"


def _error(path: Path, message: str, hint: str = "") -> DataError:
    return DataError(Problem(str(path), message, hint))
