"""One entry of a study's `stages`: a stage's name, its parameters, and the stage that it reads."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from wsss.config.naming import name_problem
from wsss.config.params.base import KNOWN_WEIGHTS, StudyPart, all_wrong, wrong
from wsss.config.stage import STAGES, study_stages
from wsss.errors import quoted


def stage_use(raw: Any, info: ValidationInfo) -> Any:
    """Return an entry of `stages`, which is a name or `name: {parameters}`. Raises what pydantic collects."""
    if isinstance(raw, StageUse):
        return raw
    single = {raw: {}} if isinstance(raw, str) else raw
    if not isinstance(single, Mapping) or len(single) != 1:
        raise wrong(f"a stage must be a name or `name: {{parameters}}`, but is {quoted(raw)}")
    ((stage, content),) = single.items()
    if stage not in study_stages():
        raise wrong(f"there is no stage {quoted(stage)}", near=stage, to=study_stages())
    if content is not None and not isinstance(content, Mapping):
        raise wrong(f"the parameters of `{stage}` must be a mapping, but are {quoted(content)}")
    params = dict(content or {})
    for key in STAGES[stage].paths:  # like other paths of the file, they are relative to it
        if info.context is not None:
            _from_base(params, key.split("."), info.context)
    name, source = params.pop("as", stage), params.pop("from", None)
    bad: dict[tuple[str, ...], PydanticCustomError] = {}
    if message := name_problem(name, "a stage"):
        bad[stage, "as"] = wrong(message)
    if source is not None and not isinstance(source, str):
        message = f"`from` is {quoted(source)}, but must be the name of an earlier stage"
        bad[stage, "from"] = wrong(message)
    if bad:
        raise all_wrong(bad)
    return StageUse(stage=stage, params=params, name=name, source=source)


def _from_base(params: dict[str, Any], key: Sequence[str], base: Path) -> None:
    """Make a path relative to a folder absolute, where the parameters have one under that key."""
    first, *rest = key
    value = params.get(first)
    if rest and isinstance(value, Mapping):
        params[first] = dict(value)
        _from_base(params[first], rest, base)
    elif not rest and isinstance(value, str) and is_path(first, value):
        params[first] = os.path.normpath(base / os.path.expanduser(value))


def is_path(key: str, value: Any) -> bool:
    """Whether a parameter that may be a path is one: neither a variable nor a word such as `download`."""
    words = KNOWN_WEIGHTS if key == "weights" else ()
    return isinstance(value, str) and bool(value) and not value.startswith("$") and value not in words


class StageUse(StudyPart):
    """One entry of an arm's `stages`; values in `params` may be "$variable"."""

    stage: str
    params: dict[str, Any] = Field(default_factory=dict)
    name: str
    source: str | None = None

    def to_raw(self) -> Any:
        extra: dict[str, Any] = {} if self.name == self.stage else {"as": self.name}
        if self.source:
            extra["from"] = self.source
        return {self.stage: {**extra, **self.params}}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return a schema for the name of a stage alone, and one for each with parameters."""
        found: list[JsonSchemaValue] = [{"enum": [*study_stages()]}]
        for name in study_stages():
            own = handler.resolve_ref_schema(handler(STAGES[name].model().__pydantic_core_schema__))
            words = {key: {"enum": [*choices]} for key, choices in STAGES[name].words().items()}
            more = {"as": {"type": "string"}, "from": {"type": "string"}, **words}
            own = {**own, "properties": {**own.get("properties", {}), **more}}
            own.pop("required", None)  # a method may bring it
            found.append(one_key({name: {"anyOf": [own, {"type": "null"}]}}))
        return {"anyOf": found}


def one_key(properties: Mapping[str, JsonSchemaValue]) -> JsonSchemaValue:
    """Return the schema of a mapping that has one of these keys."""
    only = {"additionalProperties": False, "minProperties": 1, "maxProperties": 1}
    return {"type": "object", "properties": dict(properties), **only}
