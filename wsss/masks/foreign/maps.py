"""CAMs that other programs wrote, read without trusting them.

Classes in these files are 0-based positions in the data set's list of classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from wsss.errors import DataError, Problem
from wsss.masks.foreign.arrays import read_arrays
from wsss.masks.foreign.files import MOST_PROBLEMS
from wsss.masks.foreign.layouts import Size, error_of, kind_of, maps_of

SHOWN = 20
NORMALISED = 1 + 1e-3
EPSILON = 1e-5
"""Added to a map's maximum before dividing by it, as PSA and IRN do."""


def read_cams(
    path: Path,
    classes: int | Sequence[str],
    size: tuple[int, int],
    present: npt.ArrayLike,
    shown: tuple[int, int] | None = None,
    *,
    missing: Literal["error", "zero"] = "error",
    maps: str | None = None,
    keys: str | None = None,
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
        maps: the name of the array of maps, for files in none of the layouts that are known.
        keys: the name of the array of their classes; without it `maps` has one of every class.

    A `.npy` or `.pt` holds a dict, `{class: float[H, W]}` or named arrays, a `.npz` the latter: maps
    float[n, h, w] and their classes int[n], as `wsss.masks.foreign.layouts` lists them. Classes may be 0 for
    the background and then counted from 1, so one more than there are maps, or the background may have a map
    before all others. Smaller maps are upsampled bilinearly.
    If any map of the file exceeds 1.001, each is divided by (its maximum + 1e-5). All are clipped to 1.

    Raises `DataError` for a file that can't be read safely, and for maps of other shapes, with values that
    are negative or not finite, or of classes outside [0, `classes`), and with "error" for a class in
    `present` without a map, and where all numbers are one too high.
    """
    names = [] if isinstance(classes, int) else list(classes)
    classes = classes if isinstance(classes, int) else len(classes)
    wanted = np.unique(np.asarray(present, np.int64))
    most = classes * size[0] * size[1] * np.dtype(np.float64).itemsize
    try:
        content = read_arrays(path, most, f"{classes} maps of {size[0]} × {size[1]} pixels")
        pairs, kind = maps_of(content, path, classes, maps, keys)
    except DataError:
        raise
    except Exception as error:  # numpy, zipfile, pickle and torch raise a dozen kinds for damaged bytes
        raise error_of(path, f"can't be read: {error or type(error).__name__}") from error
    _check_classes(
        [key for key, _ in pairs], wanted.tolist(), names, classes=classes, path=path, missing=missing
    )
    messages = [_problem(key, values, size, kind) for key, values in pairs]
    if any(messages):
        raise DataError([Problem(str(path), message) for message in messages if message])
    found = {key: np.ascontiguousarray(values, dtype=np.float32) for key, values in pairs}
    height, width = shown or size
    cams = np.zeros((len(wanted), height, width), np.float32)
    for cam, key in zip(cams, wanted, strict=True):
        if key in found:
            image = Image.fromarray(found[key])
            # Maps of full size stay as they are.
            cam[:] = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    if any(values.max() > NORMALISED for values in found.values()):
        cams /= cams.max(axis=(1, 2), keepdims=True) + EPSILON
    return cams.clip(0, 1).astype(np.float16), wanted


def _check_classes(
    held: Sequence[int],
    named: Sequence[int],
    names: Sequence[str],
    *,
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


def _problem(key: int, values: Any, size: tuple[int, int], kind: Size) -> str:
    """Return what is wrong with a map, empty if nothing is."""
    shape = (-(-size[0] // 4), -(-size[1] // 4)) if kind == "quarter" else size
    fits = isinstance(values, np.ndarray) and values.dtype.kind == "f" and values.ndim == 2
    if fits and kind == "any":
        fits = all(0 < have <= most for have, most in zip(values.shape, size, strict=True))
    elif fits:
        fits = values.shape == shape
    if not fits:
        expected = f"float{list(shape)}" + (" or smaller" if kind == "any" else "")
        return f"map of class {key} is {kind_of(values)}, but must be {expected}"
    with np.errstate(over="ignore"):
        bad = values[~(np.isfinite(values.astype(np.float32)) & (values >= 0))]
    return f"map of class {key} holds {bad[0]}, but values must be finite and at least 0" if bad.size else ""
