"""How a run of a study ends."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Outcome:
    """How a study ended. `computed` counts artefacts made, `reused` those found."""

    trials: int = 0
    failed: list[str] = field(default_factory=list)
    computed: int = 0
    reused: int = 0
    interrupted: bool = False
    budget: str = ""
    """The limit that ended the run, and what is used of it; empty when none did."""
    budget_key: str = ""
    stopped: list[str] = field(default_factory=list)


class BudgetReached(Exception):
    """A limit of the budget is reached, and there is more to do.

    Args:
        key: name of the limit, a field of `Budget`.
        more: what to say besides.
    """

    def __init__(self, key: str, more: str = "") -> None:
        super().__init__(key, more)
        self.key = key
        self.more = more
