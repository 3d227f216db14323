"""Fields of pydantic whose values are entries of a registry, those of other packages included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from wsss.config.params.base import all_wrong, wrong
from wsss.errors import quoted
from wsss.plugins import Registry

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class NameIn:
    """Marks a word as a name of a registry: `Annotated[str, NameIn(DATA_SETS)]`.

    Args:
        registry: what is named.
        more: words that may stand there as well.
    """

    registry: Registry[Any]
    more: tuple[str, ...] = ()

    def names(self) -> tuple[str, ...]:
        return (*self.more, *self.registry.names())

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"enum": [*self.names()]}

    def _check(self, name: str) -> str:
        names = self.names()
        if name not in names:
            expected = " or ".join(filter(None, (", ".join(map(repr, names[:-1])), repr(names[-1]))))
            # As pydantic says it of a literal.
            raise PydanticCustomError("literal_error", "Input should be {expected}", {"expected": expected})
        return name


@dataclass(frozen=True)
class KindOf(Generic[M]):
    """Marks a group as one of a registry of groups: its name alone, or `{kind: name, …}`."""

    registry: Registry[type[M]]

    def model(self, raw: Any) -> type[M] | None:
        """Return the group that a file means, None where there is none of that name."""
        return self.registry.get(raw.get("kind") if isinstance(raw, Mapping) else raw)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(self._made)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        groups = [handler(model.__pydantic_core_schema__) for model in self.registry.values()]
        return {"anyOf": [{"enum": [*self.registry.names()]}, *groups]}

    def _made(self, raw: Any, info: core_schema.ValidationInfo) -> M:
        if isinstance(raw, self.registry.values()):
            return raw
        content = {"kind": raw} if isinstance(raw, str) else raw
        if not isinstance(content, Mapping) or "kind" not in content:
            message = f"`{info.field_name}` is {quoted(raw)}, but must be a name or `{{kind: name, …}}`"
            raise wrong(message, "choose from " + ", ".join(self.registry))
        found, kind = self.model(content), content["kind"]
        if found is None:
            message = f"`{info.field_name}` is {quoted(kind)}"
            error = wrong(message, near=kind, to=self.registry.names())
            raise error if isinstance(raw, str) else all_wrong({("kind",): error})
        return found.model_validate(dict(content))
