"""The one reader of photos and masks: what may be one, how it is opened, every failure as a `Problem`.

The data check, training, CAMs, refinement and `predict` all read with it. Imports no torch: processes that
only look at files start faster without it.
"""

from __future__ import annotations

import io
import math
import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from wsss.errors import DataError, Problem

FORMATS: dict[str, tuple[str, ...]] = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "AVIF": (".avif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
"""What a photo may be, by content, and the endings of such files. Pillow knows forty formats; some it hands
to other programs (EPS starts Ghostscript), and most of their decoders are hardly ever looked at."""
PHOTO_ENDINGS = tuple(ending for endings in FORMATS.values() for ending in endings)
MOST_PIXELS = 178_956_970
"""Of a photo or a mask. It is where Pillow, too, takes a file for a decompression bomb."""
MOST_BYTES = 2**31
"""Of a file: a photo of the most pixels, uncompressed, has fewer."""
WORKING_PIXELS = 2**20
"""Of a photo as stages see it: larger ones are worked on as smaller copies, on every machine the same."""
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
REDUCED_COPY = 0x00FE, 1
"""TIFF's tag and bit of a page that is a smaller copy of another."""
OTHERS = {b"%!PS": "EPS", b"\xc5\xd0\xd3\xc6": "EPS", b"%PDF": "PDF", b"<svg": "SVG", b"<?xm": "XML"}
PICTURES = (b"\xff\xd8", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF")
NO_MASK = "mask is something else, but must be a palette or 8-bit grey PNG"
HEIF = (b"heic", b"heix", b"hevc", b"mif1", b"msf1")

# Pillow warns of half the pixels at which it refuses; the limit here is the only one.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)


@dataclass(frozen=True)
class Photo:
    """A decoded photo: `image` in RGB and upright, `size` the (width, height) that it has on disk, upright;
    `deep` if its greys had 16 bits."""

    image: Image.Image
    size: tuple[int, int]
    deep: bool


# Pillow warns of notes in a photo that it can't read, but doesn't name it; what matters is an error here.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def is_photo(path: Path) -> bool:
    """Whether a file in a folder is a photo by its name."""
    return path.suffix.lower() in PHOTO_ENDINGS and not path.name.startswith(".") and path.is_file()


def read_bytes(path: Path) -> bytes:
    """Return a file's bytes. Raises `DataError` when it is missing, no file, too large or can't be read."""
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):  # to read a pipe may take for ever
            raise DataError(Problem(str(path), "can't be read: it is no file"))
        if facts.st_size > MOST_BYTES:
            message = f"has {facts.st_size:,} bytes, but may have at most {MOST_BYTES:,}"
            raise DataError(Problem(str(path), message))
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(Problem(str(path), "file is missing")) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(Problem(str(path), f"can't be read: {reason}")) from error


def working_size(width: int, height: int) -> tuple[int, int]:
    """Return the (width, height) at which stages see a photo: its own, or that of a smaller copy."""
    return shrunk(width, height, WORKING_PIXELS)


def shrunk(width: int, height: int, most: float) -> tuple[int, int]:
    """Return the largest (width, height) of these proportions with at most so many pixels, at least 1.

    Args:
        width: in pixels.
        height: in pixels.
        most: pixels.
    """
    if width * height <= most:
        return width, height
    scale = math.sqrt(most / (width * height))
    short, long = int(min(width, height) * scale), int(max(width, height) * scale)
    if not short:  # a line of pixels
        short, long = 1, max(1, int(most))
    return (long, short) if width >= height else (short, long)


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
    with _reading(path, "photo"), _opened(io.BytesIO(content), path, "photo") as image:
        _check_frames(image, path)
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
    with _reading(path, "photo"), open(path, "rb") as file, _opened(file, path, "photo") as image:
        return _upright(image, image.size, _orientation(image))


def decode_mask(content: bytes, path: Path) -> npt.NDArray[np.uint8]:
    """Return the ids uint8[H, W] of a palette or grey PNG: palette indices, never colours.

    Raises `DataError` naming `path` for anything else.
    """
    with _reading(path, "mask"), _opened(io.BytesIO(content), path, "mask") as image:
        _check_frames(image, path)
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


def shrink_mask(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return ids at the size at which stages see their photo: each pixel's is that of the nearest one."""
    height, width = mask.shape
    return resize_mask(mask, working_size(width, height))


def resize_mask(mask: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Return ids uint8[H, W] at a `size` (width, height): each pixel's is that of the nearest one."""
    if (mask.shape[1], mask.shape[0]) == size:
        return mask
    return np.array(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST), dtype=np.uint8)


@contextmanager
def _reading(path: Path, kind: str) -> Iterator[None]:
    """Turn every error of a decoder into a `DataError` that names the file."""
    try:
        yield
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(Problem(str(path), f"{kind} can't be decoded: there is not enough memory")) from error
    except Exception as error:  # decoders raise a dozen kinds for damaged bytes
        message = f"{kind} can't be decoded: {error or type(error).__name__}"
        raise DataError(Problem(str(path), message, "fetch the file again")) from error


@contextmanager
def _opened(file: BinaryIO, path: Path, kind: str) -> Iterator[Image.Image]:
    """Open a picture of an allowed format and size; nothing but its header is decoded."""
    formats = tuple(FORMATS) if kind == "photo" else ("PNG",)
    try:
        image = Image.open(file, formats=formats)
    except Image.DecompressionBombError as error:
        size = _header_size(file, formats)
        if size is None or math.prod(size) <= MOST_PIXELS:  # the caller lowered Pillow's own limit
            raise
        raise DataError(_too_large(path, kind, size)) from error
    except UnidentifiedImageError as error:
        raise DataError(_unidentified(file, path, kind, formats)) from error
    with image:
        if math.prod(image.size) > MOST_PIXELS:
            raise DataError(_too_large(path, kind, image.size))
        yield image


def _header_size(file: BinaryIO, formats: Sequence[str]) -> tuple[int, int] | None:
    """Return the size of a picture that Pillow takes for a decompression bomb."""
    for name in formats:
        with suppress(Exception):
            file.seek(0)
            image: Image.Image = Image.OPEN[name][0](file, "")
            return image.size
    return None


def _too_large(path: Path, kind: str, size: tuple[int, int]) -> Problem:
    message = f"{kind} has {size[0]} × {size[1]} pixels, but may have at most {MOST_PIXELS:,}"
    return Problem(str(path), message, "save a smaller copy")


def _unidentified(file: BinaryIO, path: Path, kind: str, formats: Sequence[str]) -> Problem:
    file.seek(0)
    head = file.read(12)
    found = next((name for start, name in OTHERS.items() if head.startswith(start)), "")
    found = "HEIF" if head[4:8] == b"ftyp" and head[8:12] in HEIF else found
    if kind == "mask" and (found or head.startswith(PICTURES)):
        return Problem(str(path), NO_MASK, "other formats change ids")
    message, hint = f"{kind} can't be decoded: ", "fetch the file again"
    if not head:
        return Problem(str(path), f"{message}no image format known, the file is empty", hint)
    if found:
        return Problem(str(path), f"{message}it is {found}, none of {', '.join(formats)}", "save it as JPEG")
    return Problem(str(path), f"{message}no image format known, none of {', '.join(formats)}", hint)


def _check_frames(image: Image.Image, path: Path) -> None:
    """Refuse animations and documents: nothing says which of their pictures is meant.

    A camera's JPEG may have more pictures (MPO), and a TIFF smaller copies of itself: the first counts.
    """
    count = int(getattr(image, "n_frames", 1))
    if image.format == "MPO" or count == 1:
        return
    tag, bit = REDUCED_COPY
    if isinstance(image, TiffImageFile):
        image.seek(1)
        is_copy = int(image.tag_v2.get(tag, 0)) & bit
        image.seek(0)
        if is_copy:
            return
    message = f"holds {count} pictures, but must hold one"
    raise DataError(Problem(str(path), message, "save the one that is meant"))


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
