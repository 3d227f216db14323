"""Reading a parsed study file key by key, and collecting what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from wsss.config.study import LONGEST_NAME, is_name
from wsss.config.text.yaml_text import MOST_PROBLEMS, Document, Path_
from wsss.errors import Problem, nearest, quoted, shortened

MOST_HINTS = 30
"""Problems that get a hint."""


class Checker:
    """Reads a document and collects problems, each with its line."""

    def __init__(self, document: Document, base: Path, overridden: Mapping[Path_, str] | None = None) -> None:
        self.document = document
        self.base = base
        self.overridden = overridden or {}
        self.problems: list[Problem] = []
        self.more = 0
        """Problems beyond those that are kept."""
        self.tried = 0
        """Values of search variables that were checked."""
        self.judge: Literal["masks", "holdout", "nothing"] = "masks"
        """What trials can be ranked by: masks, hold-out mAP where there are none, or nothing at all."""

    def add(self, path: Path_, message: str, hint: str = "") -> None:
        if len(self.problems) >= MOST_PROBLEMS:
            self.more += 1
            return
        for length in range(len(path), 0, -1):
            if path[:length] in self.overridden:
                where = self.overridden[path[:length]]
                break
        else:
            where = self.document.where(path)
        problem = Problem(where, message, hint)
        if problem not in self.problems:
            self.problems.append(problem)

    def nearest(self, word: object, choices: Iterable[object]) -> str:
        """Return a hint, unless so many problems were found that nobody would read it."""
        return nearest(word, choices) if len(self.problems) < MOST_HINTS else ""

    def add_validation(self, path: Path_, error: ValidationError, model: type[BaseModel] | None) -> None:
        """Add every problem that pydantic found, in our words."""
        for item in error.errors(include_url=False):
            if item["type"] == "too_short" and len(item["input"]) >= item["ctx"]["min_length"]:
                continue  # what it has is wrong in itself, and is said
            location = tuple(part for part in item["loc"] if not _is_union_tag(part))
            if item["type"] == "extra_forbidden":
                location = (*(part for part in item["loc"][:-1] if not _is_union_tag(part)), item["loc"][-1])
            keys = [part for part in location if isinstance(part, str)]
            name = shortened(".".join(str(part) for part in location) or str(path[-1] if path else ""), 100)
            if item["type"] == "extra_forbidden":
                choices = field_names(model, keys[:-1])
                message = f"unknown key `{shortened(keys[-1])}`"
                self.add((*path, *location), message, self.nearest(keys[-1], choices))
            elif item["type"] == "missing":
                self.add((*path, *location), f"`{name}` is missing")
            elif item["type"] == "value_error":
                self.add((*path, *location), shortened(item["msg"].removeprefix("Value error, "), 400))
            else:
                message = item["msg"].replace("Input should be", "must be").replace("Input", "it")
                hint = ""
                if item["type"] == "literal_error" and isinstance(item["input"], str):
                    hint = self.nearest(item["input"], re.findall(r"'([^']*)'", item["ctx"]["expected"]))
                message = IN_OUR_WORDS.get(item["type"], "{}").format(message, **item.get("ctx", {}))
                message = f"`{name}` is {quoted(item['input'])}, but {shortened(message, 300)}"
                self.add((*path, *location), message, hint)

    def mapping(self, raw: Any, path: Path_, keys: Sequence[str], what: str) -> dict[str, Any]:
        """Return `raw` if it is a mapping with known keys; what is unknown is a problem."""
        if not isinstance(raw, Mapping):
            self.add(path, f"{what} must be a mapping of keys, but is {quoted(raw)}")
            return {}
        for key in raw:
            if key not in keys:
                message = f"unknown key `{shortened(str(key))}` in {what}"
                self.add((*path, key), message, self.nearest(key, keys))
        return dict(raw)

    def whole(
        self, raw: Mapping[str, Any], key: str, path: Path_, default: Any, least: int, most: int
    ) -> Any:
        """Return a whole number in [`least`, `most`], or `default` where there is none."""
        value = raw.get(key, default)
        if value is default:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            expected = f"a whole number from {least} to {most}"
            self.add((*path, key), f"`{key}` is {quoted(value)}, but must be {expected}")
            return default
        return value

    def one_of(self, raw: Mapping[str, Any], key: str, path: Path_, choices: Sequence[str]) -> Any:
        value = raw.get(key, choices[0])
        if value not in choices:
            self.add((*path, key), f"`{key}` is {quoted(value)}", self.nearest(value, choices))
            return choices[0]
        return value

    def name(self, value: Any, path: Path_, what: str) -> str:
        if not is_name(value):
            what_fits = "letters, digits, '_', '.' or '-', the first a letter or digit"
            expected = f"{what_fits}, at most {LONGEST_NAME} bytes"
            self.add(path, f"the name of {what} is {quoted(value)}, but must be {expected}")
            return ""
        return str(value)

    def group(self, model: type[BaseModel], raw: Any, path: Path_, default: Any) -> Any:
        try:
            return model.model_validate(raw)
        except ValidationError as error:
            self.add_validation(path, error, model)
            return default


IN_OUR_WORDS = {
    "path_type": "must be a path",
    "tuple_type": "must be a list",
    "model_type": "must be a mapping of keys",
    "dict_type": "must be a mapping of keys",
    "too_long": "must have {max_length} or fewer values",
    "too_short": "must have {min_length} or more values",
}
"""What study files have instead of Python's types, by the kind of pydantic's error."""


def _is_union_tag(part: str | int) -> bool:
    return isinstance(part, str) and ("[" in part or part in ("tuple", "literal"))


def field_names(model: type[BaseModel] | None, path: Sequence[str]) -> list[str]:
    """Return the keys of the group that `path` leads to inside a model."""
    for part in path:
        field = model.model_fields.get(part) if model else None
        found = field.annotation if field else None
        model = found if isinstance(found, type) and issubclass(found, BaseModel) else None
    return list(model.model_fields) if model else []
