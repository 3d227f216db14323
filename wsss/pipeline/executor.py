"""The interface between a study and the executor that makes its chains."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from wsss.config import Resources
from wsss.pipeline.chains.chain import Chain
from wsss.pipeline.check import Check
from wsss.pipeline.events import Event, StepPart
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
    """Hears from an executor how its jobs go."""

    def started(self, job: str) -> None: ...

    def holds(self, job: str, gpus: float) -> None:
        """A job that has started holds so many GPUs from now on. Called for jobs alone that give theirs back
        before they end."""

    def event(self, event: Event) -> bool:
        """Return whether the job goes on. If not, the executor stops it and calls `ended`."""

    def part(self, part: StepPart) -> None:
        """Hear how far a step is; an executor need not tell."""

    def ended(self, job: str, error: str) -> None:
        """`error` is empty when the chain is complete, or was stopped because `event` said so."""

    def stopping(self) -> bool:
        """Whether the executor starts no further job, and stops the running ones between two steps."""


class Executor(Protocol):
    """Makes chains. `run` returns when every job has ended, in success or failure, or the listener has
    stopped it. `watched`: the listener wants to hear how far steps are."""

    watched: bool

    def preflight(self, resources: Sequence[Resources]) -> Sequence[Check]:
        """Check, before anything runs, that the resources of every sweep can be had."""

    def run(self, jobs: Iterable[Job], resources: Resources, listener: Listener) -> None:
        """Take the next job only when there is room for it: the choice of the next may follow from the
        events so far."""
