"""What an object storage says of a key: one object, which decides everything about the artefact."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from wsss.files import parse_json, with_checksum, without_checksum
from wsss.store.records import Record, checked

State = Literal["whole", "evicted", "damaged"]
STATES: tuple[State, ...] = ("whole", "evicted", "damaged")


@dataclass(frozen=True)
class Entry:
    """What the storage says of a key. `version` is that of the object it was read from."""

    state: State
    attempt: str
    record: Mapping[str, Any]
    version: str = ""

    def content(self, state: State | None = None) -> bytes:
        """Return the object's bytes, in another state if one is given."""
        about = {"state": state or self.state, "attempt": self.attempt, "record": self.record}
        return json.dumps(with_checksum(about), indent=1, sort_keys=True).encode()


def parse_entry_object(content: bytes, key: str, version: str) -> Entry:
    """Return the entry in an object. Raises `ValueError` with a reason of one line."""
    about = without_checksum(parse_json(content))
    state, attempt, record = (about.get(name) for name in ("state", "attempt", "record"))
    if state not in STATES or not isinstance(attempt, str) or not isinstance(record, dict):
        raise ValueError("is no entry")
    found = checked(Record, record)
    if found.get("key", key) != key:
        raise ValueError(f"is the entry of {found['key'][:12]}")
    return Entry(state, attempt, found, version)
