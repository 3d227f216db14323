"""Labels in JSON: `{"a.jpg": ["cat", "dog"]}` or `[{"image": "a.jpg", "labels": ["cat"]}]`."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wsss.data.tables.class_names import EMPTY_HINT
from wsss.data.tables.label_table import IMAGE_WORDS, LABEL_WORDS, LabelTable
from wsss.data.tables.text import quote, read_text
from wsss.errors import DataError, Problem

FORM = 'expected {"a.jpg": ["cat"]} or [{"image": "a.jpg", "labels": ["cat"]}]'
BETWEEN = re.compile(r"[\s,:]*")


def read_json_labels(path: Path) -> LabelTable:
    """Return a table's labels. Raises `DataError` when the file can't be read or has no known form."""
    text = read_text(path)
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise DataError(Problem(str(path), "is no table: its brackets are nested too deep", FORM)) from error
    except json.JSONDecodeError as error:
        raise DataError(Problem(f"{path}:{error.lineno}", f"is no valid JSON: {error}")) from error
    except ValueError as error:  # a number of thousands of digits
        raise DataError(Problem(str(path), "is no valid JSON: it holds a number that is too long")) from error
    if not isinstance(content, dict | list) or not content:
        raise DataError(Problem(str(path), "holds no labels", FORM))
    if isinstance(content, dict) and isinstance(content.get("images"), list) and "annotations" in content:
        hint = f"make a table of it; {FORM}"
        raise DataError(
            Problem(str(path), "is an annotation file of COCO, but must be a table of labels", hint)
        )
    table = LabelTable(path)
    seen: set[str] = set()
    for number, (line, image, value, twice) in enumerate(_entries(text), 1):
        if isinstance(content, dict):
            where, labels = f"{path}:{line}, {quote(image)}", value
        else:
            where = f"{path}:{line}, entry {number}"
            image, labels = _entry(value)
        if isinstance(content, dict) and image in seen:
            twice = [*twice, image]
        for key in twice:
            table.refuse(where, f"key {quote(key)} occurs twice")
        if twice:
            continue
        if isinstance(content, dict):
            seen.add(image)
        words = [labels] if isinstance(labels, str) else labels
        if isinstance(words, list) and all(isinstance(word, str) for word in words):
            if isinstance(labels, list) and any(not word.strip() for word in words):
                table.refuse(where, f"labels are {quote(labels)}, one of which is empty", EMPTY_HINT)
                table.add_unread(image, where)
            else:
                table.add(image, words, where, again=isinstance(content, list))
        elif image is None:
            table.refuse(where, f"image is {quote(image)}, but must be a file name", FORM)
        else:
            message = f"labels are {quote(labels)}, but must be a list of names"
            table.refuse(where, message, EMPTY_HINT if labels is None else FORM)
            table.add_unread(image, where)
    return table


def _entries(text: str) -> Iterator[tuple[int, Any, Any, list[str]]]:
    """Yield line, key (None in a list), value, and keys that occur twice in it, of valid JSON's outermost
    level."""
    twice: list[str] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        twice.extend(key for key, count in Counter(key for key, _ in found).items() if count > 1)
        return dict(found)

    decoder = json.JSONDecoder(object_pairs_hook=pairs)
    start = _skip(text, 0)
    keyed = text[start] == "{"
    line, counted = 1, 0
    position = _skip(text, start + 1)
    while text[position] not in "]}":
        line, counted = line + text.count("\n", counted, position), position
        key = None
        if keyed:
            key, position = decoder.raw_decode(text, position)
            position = _skip(text, position)
        value, position = decoder.raw_decode(text, position)
        yield line, key, value, list(dict.fromkeys(twice))
        twice.clear()
        position = _skip(text, position)


def _skip(text: str, position: int) -> int:
    found = BETWEEN.match(text, position)
    return found.end() if found else position


def _entry(item: Any) -> tuple[Any, Any]:
    """Return image and labels of one object of a list, None for what it lacks."""
    if not isinstance(item, dict):
        return None, []
    found = {str(key).lower(): value for key, value in item.items()}
    image = next((found[word] for word in IMAGE_WORDS if word in found), None)
    return image, next((found[word] for word in LABEL_WORDS if word in found), None)
