"""Masks and segmentations of other programs: a label for every pixel, or scores of all labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from wsss.data.pictures.decode import decode_mask
from wsss.data.pictures.opening import read_bytes
from wsss.errors import DataError
from wsss.labels import IGNORED
from wsss.masks.foreign.arrays import read_arrays
from wsss.masks.foreign.layouts import SCORES, error_of, held_by, kind_of, named

Mask = npt.NDArray[np.uint8]


def read_foreign_mask(
    path: Path, classes: int, size: tuple[int, int], *, missing: Literal["error", "zero"] = "error"
) -> Mask:
    """Return the ids uint8[H, W] in 0..`classes` of a palette or 8-bit grey PNG.

    Raises `DataError` for anything else, and for 255, no label, unless `missing` is "zero".

    Args:
        path: the file.
        classes: how many classes the data set has, without the background.
        size: the photo's (H, W).
        missing: whether pixels may lack a label: scores take them for background, and nothing learns there.
    """
    mask = decode_mask(read_bytes(path), path)
    labelled = mask if missing == "error" else np.where(mask == IGNORED, 0, mask)
    _checked(labelled, path, classes, size)
    return mask


def read_segmentation(path: Path, classes: int, size: tuple[int, int], name: str | None = None) -> Mask:
    """Return the ids uint8[H, W] in 0..`classes` that a program gives the pixels of a photo.

    A `.png` holds them; a `.npy`, `.npz` or `.pt` holds ids int[H, W], or scores float[C + 1, h, w] with the
    background's first, of which the largest wins once they are brought to the photo's size, bilinearly.
    The array is alone in its file, has one of the names in `SCORES`, or the given name.

    Raises `DataError` for a file that can't be read safely, and for other classes or sizes.

    Args:
        path: the file.
        classes: how many classes the data set has, without the background.
        size: the photo's (H, W).
        name: of the array, where a study gives it.
    """
    if path.suffix == ".png":
        return read_foreign_mask(path, classes, size)
    try:
        most = (classes + 1) * size[0] * size[1] * np.dtype(np.float64).itemsize
        content = read_arrays(path, most, f"scores of {classes + 1} labels for {size[0]} × {size[1]} pixels")
        values = _chosen(content, name, path)
    except DataError:
        raise
    except Exception as error:  # numpy, zipfile, pickle and torch raise a dozen kinds for damaged bytes
        raise error_of(path, f"can't be read: {error or type(error).__name__}") from error
    while isinstance(values, np.ndarray) and values.ndim > 2 and len(values) == 1:
        values = values[0]  # of a batch of one
    if isinstance(values, np.ndarray) and values.ndim == 2 and values.dtype.kind in "iu":
        return _checked(values, path, classes, size)
    return _winners(values, path, classes, size)


def _chosen(content: Any, name: str | None, path: Path) -> Any:
    if name is not None:
        return named(content, name, path)
    if not isinstance(content, Mapping):
        return content
    found = next((one for one in SCORES if one in content), None)
    if found is None and len(content) == 1:
        found = next(iter(content))
    if found is None:
        message = f"holds {held_by(content)}, but must hold one array, or one named {', '.join(SCORES)}"
        raise error_of(path, message, "say which: `maps: NAME`")
    return content[found]


def _winners(values: Any, path: Path, classes: int, size: tuple[int, int]) -> Mask:
    """Return the label of the largest score of each pixel, the first one where several are equal."""
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f" or values.ndim != 3:
        expected = f"int{list(size)} or float[{classes + 1}, h, w]"
        raise error_of(path, f"scores are {kind_of(values)}, but must be {expected}")
    if len(values) != classes + 1 or 0 in values.shape:
        message = f"scores are {kind_of(values)}, but must be of {classes + 1} labels"
        raise error_of(
            path, message, "the background comes first, then the data set's classes in their order"
        )
    import torch
    from torch.nn.functional import interpolate

    best = np.full(size, -np.inf, np.float32)
    winners = np.zeros(size, np.uint8)
    for label, scores in enumerate(values):  # one at a time: all at the photo's size take much memory
        plane = torch.from_numpy(np.array(scores, np.float32))[None, None]
        found = interpolate(plane, size, mode="bilinear", align_corners=False)[0, 0].numpy()
        if not np.isfinite(found).all():
            raise error_of(path, f"scores of label {label} aren't finite")
        higher = found > best
        best[higher], winners[higher] = found[higher], label
    return winners


def _checked(mask: npt.NDArray[Any], path: Path, classes: int, size: tuple[int, int]) -> Mask:
    if mask.shape != size:
        raise error_of(path, f"mask is {list(mask.shape)}, but must be {list(size)} like its photo")
    bad = [int(id) for id in np.unique(mask) if not 0 <= id <= classes]
    if bad:
        shown = ", ".join(map(str, bad[:20])) + (f" and {len(bad) - 20} more" if len(bad) > 20 else "")
        message = f"mask holds the ids {shown}, but they must be in [0, {classes}]"
        hint = (
            "predictions need a label everywhere, so no 255; for pseudo masks with gaps say `missing: zero`"
        )
        raise error_of(path, message, hint if IGNORED in bad else "")
    return mask.astype(np.uint8)
