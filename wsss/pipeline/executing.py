"""What a driver and an executor, something that makes chains, promise each other; how a run ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from wsss.config import Resources
from wsss.pipeline.events import Event
from wsss.pipeline.readiness import Check
from wsss.pipeline.searches import Job


class Listener(Protocol):
    """What an executor tells the driver."""

    def started(self, job: str) -> None: ...

    def event(self, event: Event) -> bool:
        """Return whether the job goes on. If not, the executor stops it and says that it has ended."""

    def ended(self, job: str, error: str) -> None:
        """`error` is empty when the chain is complete, or was stopped because `event` said so."""

    def stopping(self) -> bool:
        """Whether to let no other job start and to stop the running ones between two steps."""


class Executor(Protocol):
    """Something that makes chains. `run` returns when every job has ended, however it ended, or was
    stopped because the listener said so."""

    def preflight(self, resources: Sequence[Resources]) -> Sequence[Check]:
        """Look whether what sweeps ask for could ever be run, before anything is."""

    def run(self, jobs: Iterable[Job], resources: Resources, listener: Listener) -> None:
        """Take the next job when there is room for it, and not before: which one comes next may follow
        from what has been told until then."""


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
