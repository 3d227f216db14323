"""Reading a parsed study file key by key, and collecting what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from wsss.config.yaml_text import Document, Path_
from wsss.errors import Problem, nearest

NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


class Checker:
    """Reads a document and collects problems, each with its line."""

    def __init__(self, document: Document, base: Path, overridden: Mapping[Path_, str] | None = None) -> None:
        self.document = document
        self.base = base
        self.overridden = overridden or {}
        self.problems: list[Problem] = []
        self.judge: Literal["masks", "holdout", "nothing"] = "masks"
        """What trials can be ranked by: masks, hold-out mAP where there are none, or nothing at all."""

    def add(self, path: Path_, message: str, hint: str = "") -> None:
        for length in range(len(path), 0, -1):
            if path[:length] in self.overridden:
                where = f"-s {self.overridden[path[:length]]}"
                break
        else:
            where = self.document.where(path)
        problem = Problem(where, message, hint)
        if problem not in self.problems:
            self.problems.append(problem)

    def add_validation(self, path: Path_, error: ValidationError, model: type[BaseModel] | None) -> None:
        """Add every problem that pydantic found, in our words."""
        for item in error.errors():
            location = tuple(part for part in item["loc"] if not _is_union_tag(part))
            keys = [part for part in location if isinstance(part, str)]
            name = ".".join(str(part) for part in location) or str(path[-1] if path else "")
            if item["type"] == "extra_forbidden":
                choices = field_names(model, keys[:-1])
                self.add((*path, *location), f"unknown key `{keys[-1]}`", nearest(keys[-1], choices))
            elif item["type"] == "missing":
                self.add((*path, *location), f"`{name}` is missing")
            elif item["type"] == "value_error":
                self.add((*path, *location), item["msg"].removeprefix("Value error, "))
            else:
                message = item["msg"].replace("Input should be", "must be").replace("Input", "it")
                hint = ""
                if item["type"] == "literal_error" and isinstance(item["input"], str):
                    hint = nearest(item["input"], re.findall(r"'([^']*)'", item["ctx"]["expected"]))
                self.add((*path, *location), f"`{name}` is {item['input']!r}, but {message}", hint)

    def mapping(self, raw: Any, path: Path_, keys: Sequence[str], what: str) -> dict[str, Any]:
        """Return `raw` if it is a mapping with known keys; what is unknown is a problem."""
        if not isinstance(raw, Mapping):
            self.add(path, f"{what} must be a mapping of keys, but is {raw!r}")
            return {}
        for key in raw:
            if key not in keys:
                self.add((*path, key), f"unknown key `{key}` in {what}", nearest(key, keys))
        return dict(raw)

    def whole(self, raw: Mapping[str, Any], key: str, path: Path_, default: Any, least: int | None) -> Any:
        value = raw.get(key, default)
        if value is default:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or (least is not None and value < least):
            expected = "a whole number" if least is None else f"a whole number of at least {least}"
            self.add((*path, key), f"`{key}` is {value!r}, but must be {expected}")
            return default
        return value

    def one_of(self, raw: Mapping[str, Any], key: str, path: Path_, choices: Sequence[str]) -> Any:
        value = raw.get(key, choices[0])
        if value not in choices:
            self.add((*path, key), f"`{key}` is {value!r}", nearest(str(value), choices))
            return choices[0]
        return value

    def name(self, value: Any, path: Path_, what: str) -> str:
        if not isinstance(value, str) or not NAME.fullmatch(value):
            self.add(path, f"the name of {what} is {value!r}, but must be letters, digits, '_', '.' or '-'")
            return ""
        return value

    def group(self, model: type[BaseModel], raw: Any, path: Path_, default: Any) -> Any:
        try:
            return model.model_validate(raw)
        except ValidationError as error:
            self.add_validation(path, error, model)
            return default


def _is_union_tag(part: str | int) -> bool:
    return isinstance(part, str) and ("[" in part or part in ("tuple", "literal"))


def field_names(model: type[BaseModel] | None, path: Sequence[str]) -> list[str]:
    """Return the keys of the group that `path` leads to inside a model."""
    for part in path:
        field = model.model_fields.get(part) if model else None
        found = field.annotation if field else None
        model = found if isinstance(found, type) and issubclass(found, BaseModel) else None
    return list(model.model_fields) if model else []
