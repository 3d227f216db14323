"""What an image shows, and PASCAL VOC's XML annotations, which say so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from wsss.data.decode import read_bytes
from wsss.errors import DataError, Problem, nearest


@dataclass(frozen=True)
class Annotation:
    """`names` are the objects' classes in alphabetical order, each once; `size` is (width, height)."""

    names: tuple[str, ...]
    size: tuple[int, int] | None


def read_annotation(path: Path, known: Sequence[str] | None = None) -> Annotation:
    """Return what an annotation says, difficult and truncated objects included.

    Raises `DataError` for a missing or broken file, for entities (which a hostile file could blow up
    to gigabytes), and for a class that is not in `known`, if given.
    """
    try:
        root = fromstring(read_bytes(path))
    except DefusedXmlException as error:
        message = "annotation declares XML entities, which is refused"
        raise DataError(Problem(str(path), message, type(error).__name__)) from error
    except (ParseError, ValueError, LookupError) as error:  # the last two: impossible encodings
        raise DataError(Problem(str(path), f"annotation is no valid XML: {error}")) from error
    names = {(item.findtext("name") or "").strip() for item in root.findall("object")}
    unknown = [] if known is None else unknown_classes(names, known)
    if unknown:
        raise DataError(
            Problem(
                str(path), f"class is {name!r}, but must be one of the data set's", nearest(name, known or ())
            )
            for name in unknown
        )
    return Annotation(tuple(sorted(names)), _size(root.findtext("size/width"), root.findtext("size/height")))


def unknown_classes(names: Iterable[str], known: Sequence[str]) -> list[str]:
    """Return the names that are not in `known`, in alphabetical order."""
    return sorted(set(names).difference(known))


def _size(width: str | None, height: str | None) -> tuple[int, int] | None:
    try:
        return int(width or ""), int(height or "")
    except ValueError:
        return None
