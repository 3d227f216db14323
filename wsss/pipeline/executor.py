"""What a study asks of whatever makes its chains, and what that says back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from wsss.config import Resources
from wsss.pipeline.chains.chain import Chain
from wsss.pipeline.events import Event
from wsss.pipeline.forecasts.preflight import Check
from wsss.pipeline.search.trials import Trial


@dataclass(frozen=True)
class Job:
    """A chain to be made.

    `users` are the trials that need it: one whose whole chain it is, several that share a part of theirs, or
    none for a part of a population's member, which is neither judged nor ended by it.
    """

    id: str
    chain: Chain
    users: tuple[Trial, ...] = ()


class Listener(Protocol):
    """What an executor tells of its jobs."""

    def started(self, job: str) -> None: ...

    def holds(self, job: str, gpus: float) -> None:
        """A job that has started holds so many GPUs from now on. Called for jobs alone that give theirs back
        before they end."""

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
