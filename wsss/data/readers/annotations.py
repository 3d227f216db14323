"""What an image shows, and PASCAL VOC's XML annotations, which say so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from wsss.data.tables.class_names import unknown_class
from wsss.data.tables.text import capped, read_small, tidy
from wsss.errors import DataError, Problem


@dataclass(frozen=True)
class Annotation:
    """`names` are the objects' classes in alphabetical order, each once; `size` is (width, height)."""

    names: tuple[str, ...]
    size: tuple[int, int] | None


def read_annotation(path: Path, known: Sequence[str] | None = None) -> Annotation:
    """Return what an annotation says, difficult and truncated objects included; namespaces don't matter.

    Raises `DataError` for a missing or broken file, for entities (which a hostile file could blow up
    to gigabytes), for an object without a name, and for a class that is not in `known`, if given.
    """
    try:
        root = fromstring(read_small(path))
    except DefusedXmlException as error:
        message = "annotation declares XML entities, which is refused"
        raise DataError(Problem(str(path), message, type(error).__name__)) from error
    except (ParseError, ValueError, LookupError) as error:  # the last two: impossible encodings
        raise DataError(Problem(str(path), f"annotation is no valid XML: {error}")) from error
    objects = [item for item in root if _tag(item) == "object"]
    names = [tidy(_text(item, "name")) for item in objects]
    problems = [
        Problem(f"{path}, object {number}", f"{_lack(item)}, but must name one class", NO_OBJECT)
        for number, (item, name) in enumerate(zip(objects, names, strict=True), 1)
        if not name or _count(item) > 1
    ]
    if (
        not objects
        and (deeper := next((item for item in root.iter() if _tag(item) == "object"), None)) is not None
    ):
        place = next((_tag(item) for item in root.iter() if deeper in item), "")
        message = f"<object> stands inside of <{place}>, but must stand right below <{_tag(root)}>"
        problems.append(Problem(str(path), message))
    if known is not None:
        unknown = unknown_classes(filter(None, names), known)
        problems += [unknown_class(str(path), name, known) for name in unknown]
    if problems:
        raise DataError(capped(problems, str(path)))
    return Annotation(tuple(sorted(set(names))), _size(root))


NO_OBJECT = "take the object out if there is none: an image that shows no class has no <object>"


def unknown_classes(names: Iterable[str], known: Sequence[str]) -> list[str]:
    """Return the names that are not in `known`, in alphabetical order."""
    return sorted(set(names).difference(known))


def _tag(item: Element) -> str:
    """Return a tag without its namespace; of a comment nothing."""
    return item.tag.rpartition("}")[2] if isinstance(item.tag, str) else ""


def _child(item: Element, tag: str) -> Element | None:
    return next((child for child in item if _tag(child) == tag), None)


def _text(item: Element, tag: str) -> str:
    child = _child(item, tag)
    return (child.text or "") if child is not None else ""


def _count(item: Element) -> int:
    return sum(_tag(child) == "name" for child in item)


def _lack(item: Element) -> str:
    if _count(item) > 1:
        return f"has {_count(item)} <name>"
    return "has no <name>" if _child(item, "name") is None else "has an empty <name>"


def _size(root: Element) -> tuple[int, int] | None:
    """Return (width, height), None where it isn't given; labelling tools also write zeros."""
    size = _child(root, "size")
    try:
        width, height = (int(_text(size, tag)) for tag in ("width", "height")) if size is not None else (0, 0)
    except ValueError:
        return None
    return (width, height) if width > 0 and height > 0 else None
