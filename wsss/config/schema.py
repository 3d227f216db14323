"""The JSON Schema of study files, for editors: generated from the models that check them, plugins included.

An editor completes and underlines by it. It is wider than the checks, which look at what one key means for
another; a study that the checks accept is valid by it.
"""

from __future__ import annotations

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from wsss.config.params.base import Params
from wsss.config.study import Study

VARIABLE = {"type": "string", "pattern": r"^\$", "description": "a variable of `search`"}
FROM_OUTSIDE = ("name", "storage")
"""Keys of a study that a file may leave out: what reads it knows them."""


def study_schema() -> JsonSchemaValue:
    """Return the schema of a study file, of draft 2020-12."""
    found = Study.model_json_schema(schema_generator=_Generator)
    found["required"] = [key for key in found["required"] if key not in FROM_OUTSIDE]
    return {"$schema": _Generator.schema_dialect, **found, "title": "A study of wsss"}


class _Generator(GenerateJsonSchema):
    """Lets search variables stand for the values of stages, and shows the names of groups."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        found = super().model_schema(schema)
        if issubclass(schema["cls"], Params):
            for name, content in found.get("properties", {}).items():
                told = {key: content[key] for key in ("default", "description") if key in content}
                found["properties"][name] = {"anyOf": [content, VARIABLE], **told}
        return {**found, "title": found["title"].removesuffix("Params")}
