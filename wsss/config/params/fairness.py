"""How fair a study's comparison is, as its file says: a protocol, and the exceptions that it allows
itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from wsss.config.data_set import Leak
from wsss.config.params.base import Group, all_wrong, wrong
from wsss.errors import quoted

Unequal = Literal["unequal_tuning", "unequal_epochs"]
"""What makes arms hard to compare, and is therefore refused unless a study asks for it by name."""
UNEQUAL: tuple[str, ...] = get_args(Unequal)
NEEDS_REASON = ("unequal_epochs",)
LONGEST_REASON = 300


def parse_allow(raw: Any) -> dict[str, str]:
    """Return name → reason, which may be empty, of what a study's `allow` lists: names, or `name: reason`.
    Raises the errors of validators."""
    if raw is None:
        return {}
    entries = [{name: reason} for name, reason in raw.items()] if isinstance(raw, Mapping) else raw
    if not isinstance(entries, list | tuple):
        raise wrong(f"`allow` is {quoted(raw)}, but must be a list of names, or of `name: reason`")
    found: dict[str, str] = {}
    bad: dict[tuple[Any, ...], PydanticCustomError] = {}
    for number, entry in enumerate(entries):
        pair = {entry: ""} if isinstance(entry, str) else entry
        problem = _problem(entry, pair)
        if problem is not None:
            bad[(*pair,) if isinstance(raw, Mapping) else (number,)] = problem
        else:
            ((name, reason),) = pair.items()
            found[name] = " ".join(reason.split())
    if bad:
        raise all_wrong(bad)
    return found


def _problem(entry: Any, pair: Any) -> PydanticCustomError | None:
    if not isinstance(pair, Mapping) or len(pair) != 1:
        return wrong(f"`allow` lists {quoted(entry)}, but must list names, or `name: reason`")
    ((name, reason),) = pair.items()
    if name in get_args(Leak):
        return wrong(f"`allow` names {quoted(name)}, which is about data", f"`data: {{allow: [{name}]}}`")
    if name not in UNEQUAL:
        return wrong(f"`allow` names {quoted(name)}", near=name, to=UNEQUAL)
    if not isinstance(reason, str) or len(reason) > LONGEST_REASON:
        expected = f"words, at most {LONGEST_REASON} characters"
        return wrong(f"the reason of `{name}` is {quoted(reason)}, but must be {expected}")
    if name in NEEDS_REASON and not reason.strip():
        hint = f"`allow: [{{{name}: why}}]`"
        return wrong(f"`{name}` needs a reason, which stands below every table", hint)
    return None


def raw_allow(allowed: Mapping[str, str]) -> list[Any]:
    """Return what is allowed as a study file has it."""
    return [{name: why} if why else name for name, why in allowed.items()]


_REASONS: dict[str, Any] = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in UNEQUAL},
    "additionalProperties": False,
}
_LISTED = {"type": "array", "items": {"anyOf": [{"enum": list(UNEQUAL)}, _REASONS]}}
Allowed = Annotated[
    dict[str, str],
    PlainValidator(parse_allow),
    WithJsonSchema({"anyOf": [_LISTED, _REASONS, {"type": "null"}]}),
]


class Protocol(Group):
    """A named way to compare; it fills in what a study leaves open (`wsss.config.checks.protocol`)."""

    name: Literal["equal_tuning"]
    short: bool = False
    """Ten configurations of each arm instead of thirty."""

    def to_raw(self) -> Any:
        """Return it as a study file has it."""
        return {"name": self.name, "short": True} if self.short else self.name


def _named(raw: Any) -> Any:
    if isinstance(raw, str):
        return {"name": raw}
    if raw is not None and not isinstance(raw, Mapping | Protocol):
        raise wrong(f"`protocol` is {quoted(raw)}, but must be `equal_tuning`")
    return raw


NamedProtocol = Annotated[
    Protocol | None,
    BeforeValidator(_named, json_schema_input_type=Literal["equal_tuning"] | Protocol | None),
]
