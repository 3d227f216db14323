"""PASCAL VOC's XML annotations: which classes an image shows, and its size."""

from __future__ import annotations

from collections.abc import Sequence
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


def read_annotation(path: Path, known: Sequence[str]) -> Annotation:
    """Return what an annotation says, difficult and truncated objects included.

    Raises `DataError` for a missing or broken file, for entities (which a hostile file could blow up
    to gigabytes), and for a class that is not in `known`.
    """
    try:
        root = fromstring(read_bytes(path))
    except DefusedXmlException as error:
        message = "annotation declares XML entities, which is refused"
        raise DataError(Problem(str(path), message, type(error).__name__)) from error
    except (ParseError, ValueError, LookupError) as error:  # the last two: impossible encodings
        raise DataError(Problem(str(path), f"annotation is no valid XML: {error}")) from error
    names = {(item.findtext("name") or "").strip() for item in root.findall("object")}
    problems = [
        Problem(str(path), f"class is {name!r}, but must be one of the data set's", nearest(name, known))
        for name in sorted(names.difference(known))
    ]
    if problems:
        raise DataError(problems)
    return Annotation(tuple(sorted(names)), _size(root.findtext("size/width"), root.findtext("size/height")))


def _size(width: str | None, height: str | None) -> tuple[int, int] | None:
    try:
        return int(width or ""), int(height or "")
    except ValueError:
        return None
