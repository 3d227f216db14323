"""Masks as files and as pictures: palette PNGs in the colours of PASCAL VOC."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from wsss.data.pictures.decode import decode_mask
from wsss.data.pictures.opening import read_bytes
from wsss.data.pictures.palette import PALETTE
from wsss.errors import DataError, Problem
from wsss.files import write_atomic

Mask = npt.NDArray[np.uint8]
STRIP = 256
"""Rows of a photo that are tinted at a time."""


def write_mask(path: Path, mask: Mask, *, grey: bool = False) -> None:
    """Write a mask as a palette PNG, or other values as a grey one, whole or not at all.

    Raises `DataError` for another type or shape.

    Args:
        path: the file; an old one of that name is replaced.
        mask: ids, or other values, uint8[H, W].
        grey: whether to write no palette.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "mask.png"
        >>> write_mask(path, np.array([[0, 1], [2, 255]], np.uint8))
        >>> read_mask(path).tolist()
        [[0, 1], [2, 255]]
    """
    if mask.dtype != np.uint8 or mask.ndim != 2:
        message = f"mask is {mask.dtype}{list(mask.shape)}, but must be uint8[H, W]"
        raise DataError(Problem(str(path), message))
    image = Image.fromarray(np.ascontiguousarray(mask))
    if not grey:
        image.putpalette(PALETTE.tobytes())
    content = io.BytesIO()
    image.save(content, format="PNG")
    write_atomic(path, content.getvalue())


def read_mask(path: Path) -> Mask:
    """Return the ids uint8[H, W] of a palette or grey PNG. Raises `DataError` for anything else."""
    return decode_mask(read_bytes(path), path)


def overlay(rgb: npt.NDArray[np.uint8], mask: Mask, alpha: float = 0.5) -> Image.Image:
    """Return a photo with each labelled pixel tinted; background stays as it is.

    Raises `DataError` for a mask of another size.

    Args:
        rgb: the photo, uint8[H, W, 3].
        mask: its ids, uint8[H, W].
        alpha: the tint's share, in [0, 1].
    """
    if rgb.shape[:2] != mask.shape:
        raise DataError(f"mask is {list(mask.shape)}, but must be {list(rgb.shape[:2])} like its photo")
    picture = Image.new("RGB", (rgb.shape[1], rgb.shape[0]))
    for start in range(0, len(rgb), STRIP):  # floats of a whole large photo would take gigabytes
        rows = slice(start, start + STRIP)
        weight = np.where(mask[rows] > 0, alpha, 0.0)[..., None]
        tinted = np.rint((1 - weight) * rgb[rows] + weight * PALETTE[mask[rows]])
        picture.paste(Image.fromarray(tinted.astype(np.uint8)), (0, start))
    return picture
