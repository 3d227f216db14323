"""The JSON Schema of study files, for editors: generated from what checks them, plugins included.

An editor completes and underlines by it. It is wider than the checks, which look at what one key means for
another; a study that the checks accept is valid by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from wsss.config.checks.arms import ARM_KEYS
from wsss.config.checks.fairness import UNEQUAL
from wsss.config.checks.study import STUDY_KEYS, SWEEP_KEYS
from wsss.config.data_set import DATA_SETS
from wsss.config.parts import MIXINGS, NOT_MIXED
from wsss.config.search import KINDS
from wsss.config.stage import STAGES, StageKind, study_stages
from wsss.config.study import Base, Budget, DataSpec, Protocol, Resources, Tracking
from wsss.config.supervision import known
from wsss.config.tuning import SCHEDULERS, SEARCHERS
from wsss.plugins import Registry

Schema = dict[str, Any]
VARIABLE: Schema = {"type": "string", "pattern": r"^\$", "description": "a variable of `search`"}
ANYTHING: Schema = {}


def study_schema() -> Schema:
    """Return the schema of a study file, of draft 2020-12."""
    definitions: Schema = {}

    def group(model: type[BaseModel], *, searched: bool = False) -> Schema:
        return _group(model, definitions, searched=searched)

    stages = {"type": "array", "minItems": 1, "items": {"anyOf": _stages(definitions)}}
    arm: Schema = {
        "stages": stages,
        "search": {"type": "object", "additionalProperties": _one_key(dict.fromkeys(KINDS, ANYTHING))},
        "samples": {"type": ["integer", "null"], "minimum": 1},
        "keep": {"type": ["integer", "null"], "minimum": 1},
        "control": {"type": ["string", "null"]},
        "stop_below": {"type": ["number", "string", "object", "null"]},
        "supervision": {
            "type": "array",
            "items": {
                "anyOf": [{"enum": list(known())}, {"type": "object", "minProperties": 1, "maxProperties": 1}]
            },
        },
    }
    sweep: Schema = {
        **{name: arm[name] for name in SWEEP_KEYS if name in arm},
        "name": {"type": "string"},
        "arms": {"type": "object", "additionalProperties": _object(_only(arm, ARM_KEYS))},
        "metric": {"type": ["string", "null"]},
        "searcher": _kinds(SEARCHERS, definitions),
        "scheduler": _kinds(SCHEDULERS, definitions),
        "resources": group(Resources),
        "seeds": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "replicate": {"type": ["string", "null"]},
    }
    nothing: Schema = {"type": "null"}
    study: Schema = {
        "name": {"type": "string"},
        "base": {"anyOf": [group(Base), nothing]},
        "data": group(DataSpec),
        "protocol": {"anyOf": [{"enum": ["equal_tuning"]}, group(Protocol), nothing]},
        "allow": {
            "type": ["array", "object", "null"],
            "items": {
                "anyOf": [{"enum": list(UNEQUAL)}, _one_key({name: {"type": "string"} for name in UNEQUAL})]
            },
        },
        "seed": {"type": "integer", "minimum": 0},
        "sweeps": {"type": "array", "minItems": 1, "items": _object(_only(sweep, SWEEP_KEYS), "name")},
        "storage": {"type": ["string", "null"]},
        "retain": {"enum": ["kept", "all"]},
        "tracking": {"anyOf": [group(Tracking), nothing]},
        "budget": {"anyOf": [group(Budget), nothing]},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A study of wsss",
        **_object(_only(study, STUDY_KEYS), "data", "sweeps"),
        "$defs": definitions,
    }


def _only(properties: Mapping[str, Schema], keys: Iterable[str]) -> Schema:
    """Return the properties in the order of the keys that the checks know: each of them, and no other."""
    return {key: properties[key] for key in keys}


def _object(properties: Mapping[str, Schema], *required: str) -> Schema:
    found: Schema = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    return {**found, "required": list(required)} if required else found


def _one_key(properties: Mapping[str, Schema]) -> Schema:
    return {**_object(properties), "minProperties": 1, "maxProperties": 1}


def _stages(definitions: Schema) -> list[Schema]:
    """Return a schema for the name of a stage alone, and one for each with parameters."""
    names = study_stages()
    return [{"enum": list(names)}, _one_key({name: _stage(STAGES[name], definitions) for name in names})]


def _stage(kind: type[StageKind[Any]], definitions: Schema) -> Schema:
    own = _group(kind.model(), definitions, searched=True)
    found = definitions.pop(own["$ref"].rpartition("/")[2])
    more: Schema = {"as": {"type": "string"}, "from": {"type": "string"}}
    more |= {key: {"enum": list(words)} for key, words in kind.words().items()}
    stage = {**found, "properties": {**found.get("properties", {}), **more}}
    stage.pop("required", None)  # a method may bring it
    return {"anyOf": [stage, {"type": "null"}]}


def _kinds(registry: Registry[Any], definitions: Schema) -> Schema:
    groups = [_group(model, definitions) for model in registry.values()]
    return {"anyOf": [{"enum": list(registry.names())}, *groups]}


def _group(model: type[BaseModel], definitions: Schema, *, searched: bool = False) -> Schema:
    """Add a group of parameters to the definitions; return the reference to it."""
    found = model.model_json_schema(ref_template="#/$defs/{model}", mode="validation")
    for name, content in {**found.pop("$defs", {}), model.__name__: found}.items():
        definitions[name] = _readable({**content, **_names(name)}, searched=searched)
    return {"$ref": f"#/$defs/{model.__name__}"}


def _names(model: str) -> Schema:
    return {"title": model.removesuffix("Params")}


def _readable(schema: Schema, *, searched: bool) -> Schema:
    """Return a group's schema in which names are those of registries and a value may be a variable."""
    properties: Schema = {}
    for name, content in schema.get("properties", {}).items():
        choices = CHOICES.get((schema["title"], name))
        told = {key: content[key] for key in ("default", "description") if key in content}
        own = {"enum": [*choices()], **told} if choices else content
        properties[name] = {"anyOf": [own, VARIABLE], **told} if searched else own
    return {**schema, "properties": properties} if properties else schema


CHOICES: dict[tuple[str, str], Any] = {
    ("DataSpec", "dataset"): DATA_SETS.names,
    ("Mixing", "kind"): lambda: (NOT_MIXED, *MIXINGS.names()),
}
"""Words of a group that are the names of a registry."""
