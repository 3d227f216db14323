"""Reading a parsed study file by its models, and collecting what is wrong with it."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from wsss.config.params.registered import KindOf
from wsss.config.text.yaml_text import MOST_PROBLEMS, Document, Path_
from wsss.errors import Problem, nearest, quoted, shortened

MOST_HINTS = 30
"""Problems that get a hint."""
MOST_ROUNDS = 10
"""How often wrong parts are taken out, to check the rest."""
GROUPS = ("data", "base", "tracking", "budget", "resources", "searcher", "scheduler")
"""Keys of a study and of sweeps that hold groups of parameters: names in messages begin after them."""
STAND_INS: Mapping[str, Any] = {"name": "unnamed", "data": {}, "sweeps": [], "storage": Path()}
"""Values in place of needed keys, of a study and of sweeps, that are missing or wrong, so that the rest can
be checked."""

M = TypeVar("M", bound=BaseModel)


class Checker:
    """Reads a document and collects problems, each with its line."""

    def __init__(self, document: Document, overridden: Mapping[Path_, str] | None = None) -> None:
        self.document = document
        self.overridden = overridden or {}
        self.problems: list[Problem] = []
        self.more = 0
        """The number of problems beyond those that are kept."""
        self.tried = 0
        """The number of values of search variables that were checked."""
        self.judge: Literal["masks", "holdout", "nothing"] = "masks"
        """What trials can be ranked by: masks, hold-out mAP where there are none, or nothing at all."""
        self.left_out: dict[Path_, None] = {}
        """Places of the document that were taken out because they are wrong."""

    def read(self, model: type[M], raw: Any, context: Any = None) -> M | None:
        """Return the model of a whole document; None where nothing of it is good.

        Wrong parts are left out, so that the rest is checked, too.

        Args:
            model: the class to return one of.
            raw: the document's value, completed.
            context: what validators get.
        """
        left = copy.deepcopy(raw)
        for round_ in range(MOST_ROUNDS):
            try:
                return model.model_validate(left, context=context)
            except ValidationError as error:
                if not round_:  # later problems only follow from it
                    self.add_validation((), error, model)
                if not isinstance(left, dict):
                    break
                self._leave_out(left, {_location(item) for item in error.errors(include_url=False)})
        return None

    def _leave_out(self, raw: dict[str, Any], places: Iterable[Path_]) -> None:
        found = {_existing(raw, place) for place in places} - {()}
        # From the inside out, and the last item of a list first: earlier items keep their numbers.
        for place in sorted(found, key=_last_first):
            original = self.original(place)
            parent: Any = raw
            for part in place[:-1]:
                parent = parent[part]
            if needed(place):
                parent[place[-1]] = STAND_INS[str(place[-1])]
            else:
                del parent[place[-1]]
            self.left_out[original] = None

    def original(self, path: Path_) -> Path_:
        """Return the document's path of a place in the reduced document."""
        found: Path_ = ()
        for part in path:
            if isinstance(part, int):
                beside = [place[-1] for place in self.left_out if place[:-1] == found]
                for gone in sorted(number for number in beside if isinstance(number, int)):
                    part += gone <= part
            found = (*found, part)
        return found

    def is_left_out(self, path: Path_) -> bool:
        """Whether the value at a place, or a part of it, was wrong and is taken out."""
        path = self.original(path)
        return any(place[: len(path)] == path for place in self.left_out)

    def add(self, path: Path_, message: str, hint: str = "") -> None:
        if len(self.problems) >= MOST_PROBLEMS:
            self.more += 1
            return
        path = self.original(path)
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
        """Return a hint; an empty one when there are more problems than a person reads."""
        return nearest(word, choices) if len(self.problems) < MOST_HINTS else ""

    def add_validation(self, path: Path_, error: ValidationError, model: type[BaseModel]) -> None:
        """Add every problem that pydantic found in what stands at a path, in our words."""
        for item in error.errors(include_url=False):
            if item["type"] == "too_short" and len(item["input"]) >= item["ctx"]["min_length"]:
                continue  # the value's own problem is reported
            self._add_item(path, item, model)

    def _add_item(self, path: Path_, item: ErrorDetails, model: type[BaseModel]) -> None:
        kind, location, context, hint = item["type"], _location(item), item.get("ctx", {}), ""
        named = location if path else _from_group(location)
        name = shortened(".".join(map(str, named)) or str(path[-1] if path else ""), 100)
        if kind == "extra_forbidden":
            owner = _owner(model, location[:-1], None if path else self.document.value)
            called = _called(owner, location[:-1])
            message = f"unknown key `{shortened(str(location[-1]))}`{called and ' in '}{called}"
            hint = self.nearest(location[-1], keys_of(owner))
        elif kind == "missing":
            message = f"`{name}` is missing"
        elif kind == "value_error":
            message = shortened(item["msg"].removeprefix("Value error, "), 400)
        elif kind == "wrong":
            about = f"{context['about']} `{name}` " if context["about"] else ""
            message = about + context["message"]
            hint = context["hint"] or (self.nearest(context["near"], context["to"]) if context["to"] else "")
        elif kind == "model_type" and (called := _called(_owner(model, location, None), location)):
            message = f"{called} must be a mapping of keys, but is {quoted(item['input'])}"
        else:
            if kind == "literal_error" and isinstance(item["input"], str):
                hint = self.nearest(item["input"], re.findall(r"'([^']*)'", context["expected"]))
            theirs = item["msg"].replace("Input should be", "must be").replace("Input", "it")
            ours = OUR_WORDS.get(kind)
            expected = shortened(theirs if ours is None else ours.format_map(context), 300)
            message = f"`{name}` is {quoted(item['input'])}, but {expected}"
        self.add((*path, *location), message, hint)


OUR_WORDS = {
    "path_type": "must be a path",
    "model_type": "must be a mapping of keys",
    "dict_type": "must be a mapping of keys",
    "tuple_type": "must be a list",
    "too_long": "must have {max_length} or fewer values",
    "too_short": "must have {min_length} or more values",
}
"""Pydantic's kinds of errors whose messages speak of Python's types."""


def _location(item: ErrorDetails) -> Path_:
    """Return the place of an error without the parts of unions that pydantic adds to it."""

    def is_tag(part: str | int) -> bool:
        return isinstance(part, str) and ("[" in part or part in ("tuple", "literal"))

    place = item["loc"]
    last = place[-1:] if item["type"] == "extra_forbidden" else ()  # the key itself, whatever it is
    return (*(part for part in place[: len(place) - len(last)] if not is_tag(part)), *last)


def _from_group(location: Path_) -> Path_:
    """Return the part of a location that names a value: within its group, or its key alone."""
    for number, part in enumerate(location[:-1]):
        if part in GROUPS:
            return location[number + 1 :]
    return location[-1:] if location[:1] == ("sweeps",) else location


def _last_first(place: Path_) -> tuple[int, int]:
    last = place[-1]
    return -len(place), -last if isinstance(last, int) else 0


def _existing(raw: Any, place: Path_) -> Path_:
    """Return the part of a place that exists."""
    if needed(place):
        return place
    for number, part in enumerate(place):
        if not (part in raw if isinstance(raw, dict) else isinstance(raw, list) and isinstance(part, int)):
            return place[:number]
        raw = raw[part]
    return place


def needed(place: Path_) -> bool:
    """Whether a key is needed there: see `STAND_INS`."""
    if len(place) == 1:
        return place[0] in STAND_INS
    return len(place) == 3 and (place[0], place[2]) == ("sweeps", "name")


def _owner(model: Any, location: Path_, raw: Any) -> Any:
    """Return the model that a location leads to inside another model; `raw` is the value that this one
    reads."""
    for part in location:
        raw = raw.get(part) if isinstance(raw, dict) else raw[int(part)] if isinstance(raw, list) else None
        model = _child(model, part, raw)
    groups = [one for one in get_args(model) if isinstance(one, type) and issubclass(one, BaseModel)]
    return groups[0] if groups and get_origin(model) not in (tuple, dict) else model  # `Base | None` is Base


def _child(model: Any, part: str | int, raw: Any) -> Any:
    if isinstance(model, type) and issubclass(model, BaseModel):
        for name, field in model.model_fields.items():
            if part == (field.validation_alias or name):
                kinds = [marker.model(raw) for marker in field.metadata if isinstance(marker, KindOf)]
                return kinds[0] if kinds else field.annotation
        return None
    arguments = get_args(model)
    if get_origin(model) in (tuple, dict):
        return arguments[isinstance(part, str)]
    return next((found for one in arguments if (found := _child(one, part, raw)) is not None), None)


def _called(model: Any, location: Path_) -> str:
    """Return what messages call the model at a location; empty for groups, which their keys name."""
    return getattr(model, "called", "").format(*map(str, location[-1:]))


def keys_of(model: Any) -> list[str]:
    """Return the keys that a file may have where this model stands."""
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return []
    return [str(field.validation_alias or name) for name, field in model.model_fields.items()]
