"""Between the driver of a study and whatever executes its jobs: who tells whom what."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from wsss.addresses import scrub
from wsss.config import Resources
from wsss.pipeline.events import Event, SharedEnded, StageFinished, TrialProgress
from wsss.pipeline.judging import Verdicts
from wsss.pipeline.readiness import Check
from wsss.pipeline.searches import Job, Searches
from wsss.pipeline.trials import Trial

if TYPE_CHECKING:
    from wsss.pipeline.study import StudyRun


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


class Driver:
    """The listener that an executor talks to: turns ended jobs into results, records and events."""

    def __init__(
        self,
        run: StudyRun,
        resources: Resources,
        verdicts: Verdicts | None = None,
        searches: Searches | None = None,
    ) -> None:
        self._run = run
        self.resources = resources
        self._began: dict[str, float] = {}
        self._shared: dict[str, Job] = {}
        self._stopped: dict[tuple[str, str], str] = {}
        self.trials: dict[str, Trial] = {}
        """By job; jobs that make what several trials share have none."""
        self._verdicts = verdicts
        self._searches = searches

    @property
    def verdicts(self) -> Verdicts:
        assert self._verdicts is not None, "a part of a population is not judged"
        return self._verdicts

    @property
    def searches(self) -> Searches:
        assert self._searches is not None, "a part of a population is not searched"
        return self._searches

    def started(self, job: str) -> None:
        self._began.setdefault(job, time.monotonic())
        self._run.meter.started(job, self.resources.gpu)
        if job in self.trials:
            self._run.start(self.trials[job])

    def event(self, event: Event) -> bool:
        if not (isinstance(event, TrialProgress) and event.replayed):
            self._run.tell(event)
        if not isinstance(event, TrialProgress | StageFinished):
            return True
        if event.trial in self.trials:
            return not self._judge(self.trials[event.trial], event)
        job = self._shared.get(event.trial)
        if job is None:
            return True
        for trial in job.users:
            own = [node.label for node in trial.chain.nodes if node.key == job.chain[event.stage].key]
            if own:  # under the name that it has in its chain
                self._judge(trial, event if event.stage in own else replace(event, stage=own[0]))
        return not self.gave_up(job)

    def _judge(self, trial: Trial, event: TrialProgress | StageFinished) -> str:
        """Return why a trial is to stop, after what it or a job for it just did; empty when it goes on."""
        reason = self._stopped.get(_fate(trial), "") or self.verdicts.on_event(trial, event)
        if reason:
            self._stopped[_fate(trial)] = reason
        return reason

    def share(self, jobs: Iterable[Job]) -> None:
        """Take in jobs that make what several trials share, before they are made."""
        self._shared.update({job.id: job for job in jobs})

    def gave_up(self, job: Job) -> bool:
        """Whether all for whom a job is made have been given up."""
        return bool(job.users) and all(_fate(trial) in self._stopped for trial in job.users)

    def stopping(self) -> bool:
        return self._run.overtaken or bool(self._run.meter.reached())

    def ended(self, job: str, error: str) -> None:
        error = scrub(error)  # a traceback repeats what libraries were given; this is written down
        self._run.meter.ended(job, trial=job in self.trials)
        if job in self.trials:
            trial = self.trials[job]
            seconds = round(time.monotonic() - self._began.get(job, time.monotonic()), 3)
            stopped = "" if error else self._stopped.get(_fate(trial), "")
            self._run.end(trial, self, error=error, stopped=stopped, seconds=seconds)
        elif job in self._shared:
            self._run.tell(SharedEnded(job))
            for trial in self._shared[job].users:
                # Users that stand for others were never begun.
                if _fate(trial) in self._stopped and self.trials.get(trial.info.id) is trial:
                    self._run.give_up(trial, self, self._stopped[_fate(trial)])


def _fate(trial: Trial) -> tuple[str, str]:
    """Name what is decided for a trial: trials of an arm with equal chains have the same."""
    return trial.info.arm, trial.chain.nodes[-1].key
