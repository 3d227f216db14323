"""A finished artefact, as its record describes it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss.files import sha256_json

RECORD = "artefact.json"
EVICTED = "evicted"
LOG = "program.log"
"""What a foreign program wrote while it made the artefact: kept with it, and no part of what it is."""


@dataclass(frozen=True)
class Artefact:
    """A finished artefact. `record` is the content of its artefact.json.

    `gone` is whether the files were deleted from a storage that isn't this machine's folder.
    """

    key: str
    folder: Path
    record: Mapping[str, Any]
    gone: bool | None = None

    @property
    def stage(self) -> str:
        return str(self.record["stage"])

    @functools.cached_property
    def digest(self) -> str:
        """Identity of the files' content, logs aside: equal digests mean bitwise equal files."""
        files = self.record["files"].items()
        return sha256_json({name: facts["sha256"] for name, facts in files if name != LOG})

    @property
    def bytes(self) -> int:
        return sum(int(facts["bytes"]) for facts in self.record["files"].values())

    @property
    def evicted(self) -> bool:
        """The files were deleted to save space, or are being deleted; the record stays."""
        return (self.folder / EVICTED).exists() if self.gone is None else self.gone
