"""The one reader of photos and masks: the data check, training, CAMs, refinement and `predict` read with it.

Imports no torch: processes that only look at files start faster without it.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from wsss.data.pictures.opening import MOST_PIXELS, NO_MASK, check_frames, opened, read_bytes, reading
from wsss.data.pictures.sizes import shrunk
from wsss.errors import DataError, Problem

MASK_MODES = ("P", "L")
SPREAD_DEPTHS = (b"\x02\x00", b"\x04\x00")
"""PNGs of 2 and 4 grey bits, whose levels Pillow spreads over 0 to 255."""
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a photo upright, by the EXIF standard's orientation."""
LYING = (5, 6, 7, 8)


@dataclass(frozen=True)
class Photo:
    """A decoded photo: `image` in RGB and upright, `size` the (width, height) that it has on disk, upright;
    `deep` if its greys had 16 bits."""

    image: Image.Image
    size: tuple[int, int]
    deep: bool


def decode_photo(content: bytes, path: Path) -> Image.Image:
    """Return the fully decoded photo in RGB, upright if its EXIF data say how it was held.

    Raises `DataError` naming `path`.
    """
    return open_photo(content, path).image


def open_photo(content: bytes, path: Path, most: int | None = None, *, whole: bool = True) -> Photo:
    """Return a photo, decoded in full, or a smaller copy of it (bicubic).

    Colours are Pillow's; transparency is left out, greys of 16 bits keep their upper 8. EXIF data that can't
    be read mean upright. Raises `DataError` naming `path`.

    Args:
        content: of the file.
        path: of the file, for messages.
        most: a photo of more pixels gives a copy of at most so many.
        whole: whether to decode all of a JPEG. Otherwise Pillow decodes a half, a quarter or an eighth of it
            where the copy is smaller still, which takes a fraction of time and memory.
    """
    with reading(path, "photo"), opened(io.BytesIO(content), path, "photo") as image:
        check_frames(image, path)
        size = image.size
        small = shrunk(*size, most or MOST_PIXELS)
        if small != size and not whole:
            image.draft(None, small)
        image.load()
        orientation = _orientation(image)
        deep = image.mode.startswith("I;16")
        rgb = image if image.mode == "RGB" and small != size else _as_rgb(image, path)
        if small != size:
            rgb = rgb.resize(small, Image.Resampling.BICUBIC, reducing_gap=3.0)
        if orientation in TURNS:
            rgb = rgb.transpose(TURNS[orientation])
        return Photo(rgb, _upright(image, size, orientation), deep)


def photo_size(path: Path) -> tuple[int, int]:
    """Return the (width, height) of an upright photo, read from its header alone.

    Raises `DataError` naming `path`.
    """
    if not path.is_file():
        read_bytes(path)  # says what is wrong
    with reading(path, "photo"), open(path, "rb") as file, opened(file, path, "photo") as image:
        return _upright(image, image.size, _orientation(image))


def decode_mask(content: bytes, path: Path) -> npt.NDArray[np.uint8]:
    """Return the ids uint8[H, W] of a palette or grey PNG: palette indices, never colours.

    Raises `DataError` naming `path` for anything else.
    """
    with reading(path, "mask"), opened(io.BytesIO(content), path, "mask") as image:
        check_frames(image, path)
        if image.mode not in MASK_MODES:
            message = f"mask's mode is {image.mode}, but must be {' or '.join(MASK_MODES)}"
            raise DataError(Problem(str(path), message, _mode_hint(image.mode)))
        if content[24:26] in SPREAD_DEPTHS:
            raise DataError(Problem(str(path), NO_MASK, "save it with 8 bits a pixel"))
        return np.array(image, dtype=np.uint8)


def ids_in(mask: npt.NDArray[np.uint8]) -> tuple[int, ...]:
    """Return the ids that occur in a mask uint8[H, W], in ascending order."""
    found = np.zeros(256, bool)
    for row in mask:  # counting them all at once would take eight bytes a pixel
        found[row] = True
    return tuple(int(id) for id in np.flatnonzero(found))


def _orientation(image: Image.Image) -> int:
    try:
        found = int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # of a dozen kinds: EXIF data that can't be read mean upright
        return 1
    return found


def _upright(image: Image.Image, size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Return the upright (width, height). Pillow turns a TIFF itself, and gives its upright size."""
    return size[::-1] if orientation in LYING and image.format != "TIFF" else size


def _as_rgb(image: Image.Image, path: Path) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        message = f"photo has pixels of mode {image.mode}, whose range isn't known"
        raise DataError(Problem(str(path), message, "save it with 8 bits a channel"))
    image.info.pop("transparency", None)  # Pillow warns of it
    return image.convert("RGB")


def _mode_hint(mode: str) -> str:
    if mode == "1":
        return "masks hold ids, of 8 bits a pixel: save 0 for background and 1 for the class"
    if mode.startswith("I"):
        return "masks hold ids below 256: save it with 8 bits a pixel"
    return "masks hold ids, not colours"
