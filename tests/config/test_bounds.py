"""No number of a study file is without a bound: what is typed wrongly must not take a machine for a day."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from wsss.config.params.base import Params
from wsss.config.stage import STAGES
from wsss.config.study import Budget, DataSpec, Resources

MODELS: dict[str, type[Params]] = {
    **{name: STAGES[name].model() for name in STAGES},
    "data": DataSpec,
    "resources": Resources,
    "budget": Budget,
}


def numbers(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        if schema.get("type") in ("integer", "number"):
            yield path, schema
        for key, value in schema.items():
            yield from numbers(value, f"{path}.{key}")
    elif isinstance(schema, list):
        for number, value in enumerate(schema):
            yield from numbers(value, f"{path}[{number}]")


@pytest.mark.parametrize("name", MODELS)
def test_every_number_has_a_largest_value(name: str) -> None:
    schema = MODELS[name].model_json_schema()
    unbounded = [path for path, one in numbers(schema) if not {"maximum", "exclusiveMaximum"} & one.keys()]
    assert not unbounded
