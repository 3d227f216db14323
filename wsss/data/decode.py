"""Opening photos and masks with Pillow, with every failure turned into a `Problem`.

Imports no torch: processes that only look at files start faster without it.
"""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from wsss.errors import DataError, Problem

UNREADABLE = (
    OSError,  # includes a file that ends too early and one of no known kind
    SyntaxError,  # Pillow's answer to a broken PNG
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
MASK_MODES = ("P", "L")
EXIF_ORIENTATION = 0x0112


def read_bytes(path: Path) -> bytes:
    """Return a file's bytes. Raises `DataError` when it is missing or can't be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(Problem(str(path), "file is missing")) from error
    except OSError as error:
        raise DataError(Problem(str(path), f"can't be read: {error.strerror}")) from error


def decode_photo(content: bytes, path: Path) -> Image.Image:
    """Return the fully decoded photo in RGB, upright if its EXIF data say how it was held.

    Raises `DataError` naming `path`.
    """
    return ImageOps.exif_transpose(_decode(content, path, "photo")).convert("RGB")


def photo_size(path: Path) -> tuple[int, int]:
    """Return the (width, height) of an upright photo without decoding it.

    Raises `DataError` naming `path`.
    """
    try:
        with Image.open(path) as photo:
            width, height = photo.size
            turned = photo.getexif().get(EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
    except UNREADABLE as error:
        raise DataError(Problem(str(path), f"photo can't be decoded: {error}")) from error
    return (height, width) if turned else (width, height)


def decode_mask(content: bytes, path: Path) -> npt.NDArray[np.uint8]:
    """Return the ids uint8[H, W] of a palette or grey PNG: palette indices, never colours.

    Raises `DataError` naming `path` for anything else.
    """
    image = _decode(content, path, "mask")
    if image.mode not in MASK_MODES:
        message = f"mask's mode is {image.mode}, but must be {' or '.join(MASK_MODES)}"
        raise DataError(Problem(str(path), message, "masks hold ids, not colours"))
    return np.array(image, dtype=np.uint8)


def _decode(content: bytes, path: Path, kind: str) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(content))
        image.load()
    except UNREADABLE as error:
        reason = "no image format known to Pillow" if isinstance(error, UnidentifiedImageError) else error
        hint = "fetch the file again"
        raise DataError(Problem(str(path), f"{kind} can't be decoded: {reason}", hint)) from error
    return image
