"""What people have in a notebook, a path, a picture, an array, as the array that algorithms take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from wsss.data.pictures.decode import open_photo
from wsss.data.pictures.opening import read_bytes
from wsss.errors import DataError
from wsss.masks.images import read_mask

Rgb = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.uint8]
Photo = str | Path | Image.Image | npt.NDArray[Any]
"""A file, a Pillow picture, or uint8[H, W, 3] in RGB."""
MaskLike = str | Path | Image.Image | npt.NDArray[Any]
"""A palette or grey PNG, such a Pillow picture, or integers [H, W] in 0–255."""


def as_rgb(photo: Photo) -> Rgb:
    """Return a photo as uint8[H, W, 3], upright. Raises `DataError` for what is no photo."""
    if isinstance(photo, str | Path):
        return np.asarray(open_photo(read_bytes(Path(photo)), Path(photo)).image)
    if isinstance(photo, Image.Image):
        return np.asarray(photo.convert("RGB"))
    if not isinstance(photo, np.ndarray) or photo.dtype != np.uint8 or photo.shape[2:] != (3,):
        raise DataError(f"a photo is {_described(photo)}, but must be a file, a picture or uint8[H, W, 3]")
    return photo


def as_mask(mask: MaskLike) -> Mask:
    """Return a mask as uint8[H, W]: 0 background, 255 ignored. Raises `DataError` for what is no mask."""
    if isinstance(mask, str | Path):
        return read_mask(Path(mask))
    if isinstance(mask, Image.Image) and mask.mode in ("P", "L"):
        return np.asarray(mask)
    array = mask if isinstance(mask, np.ndarray) else None
    if array is None or array.ndim != 2 or array.dtype.kind not in "iu" or not array.size:
        raise DataError(f"a mask is {_described(mask)}, but must be a PNG or integers [H, W]")
    if int(array.min()) < 0 or int(array.max()) > 255:
        raise DataError(f"a mask has values {array.min()} to {array.max()}, but must have 0 to 255")
    return array.astype(np.uint8)


def _described(thing: object) -> str:
    if isinstance(thing, np.ndarray):
        return f"{thing.dtype}{list(thing.shape)}"
    if isinstance(thing, Image.Image):
        return f"a picture of mode {thing.mode}"
    return f"of type {type(thing).__name__}"
