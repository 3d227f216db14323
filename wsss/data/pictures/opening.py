"""Opening photos and masks: what may be one, how large, and every failure as a `Problem` that names the file.

Imports no torch: processes that only look at files start faster without it.
"""

from __future__ import annotations

import math
import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

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
REDUCED_COPY = 0x00FE, 1
"""TIFF's tag and bit of a page that is a smaller copy of another."""
OTHERS = {b"%!PS": "EPS", b"\xc5\xd0\xd3\xc6": "EPS", b"%PDF": "PDF", b"<svg": "SVG", b"<?xm": "XML"}
PICTURES = (b"\xff\xd8", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF")
NO_MASK = "mask is something else, but must be a palette or 8-bit grey PNG"
HEIF = (b"heic", b"heix", b"hevc", b"mif1", b"msf1")

# Pillow warns of half the pixels at which it refuses; the limit here is the only one.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)
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


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
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
def opened(file: BinaryIO, path: Path, kind: str) -> Iterator[Image.Image]:
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


def check_frames(image: Image.Image, path: Path) -> None:
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
