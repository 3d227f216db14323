"""A row of the preflight: what everything that looks at something before the first trial returns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from wsss.errors import PreflightError, Problem

State = Literal["ok", "note", "bad"]


@dataclass(frozen=True)
class Check:
    """One row: what was checked, what was found, and how to mend it if it is bad."""

    what: str
    state: State
    found: str
    hint: str = ""


def refuse_bad(checks: Iterable[Check]) -> None:
    """Raise one `PreflightError` with everything that is bad, if anything is."""
    bad = [Problem(check.what, check.found, check.hint) for check in checks if check.state == "bad"]
    if bad:
        raise PreflightError(bad, title="the study can't run here")
