"""Running a study: sweep by sweep, trial by trial, over whatever executor there is.

The driver alone decides, records and tells: executors (in this process, or Ray) only make what
they are handed. The ledger, the store and the partial artefacts are the whole truth, so that a
study goes on from any of them, however it was stopped.
"""

from __future__ import annotations

import difflib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from wsss.config import Resources, Study, Sweep, dump_study, load_study_text
from wsss.config.location import Location
from wsss.data.view import DataView
from wsss.errors import ConfigError, Problem, nearest
from wsss.pipeline.base import base_trials
from wsss.pipeline.chain import Chain
from wsss.pipeline.events import (
    Event,
    Observer,
    StageFinished,
    StudyFinished,
    StudyStarted,
    SweepFinished,
    SweepStarted,
    TrialFinished,
    TrialStarted,
)
from wsss.pipeline.results import Result, chain_result
from wsss.pipeline.retention import evict_unkept
from wsss.pipeline.selection import kept_trials
from wsss.pipeline.storage import Storage, open_storage
from wsss.pipeline.store import Store
from wsss.pipeline.trials import Trial, sweep_trials


@dataclass(frozen=True)
class Job:
    """A chain to be made. Jobs that only prepare what several trials share have no trial."""

    id: str
    chain: Chain


class Listener(Protocol):
    """What an executor tells the driver."""

    def started(self, job: str) -> None: ...

    def event(self, event: Event) -> None: ...

    def ended(self, job: str, error: str) -> None:
        """`error` is empty when the chain is complete."""


class Executor(Protocol):
    """Something that makes chains. `run` returns when every job has ended, however it ended."""

    def preflight(self, resources: Sequence[Resources]) -> None:
        """Refuse what could never be run, before anything is. Raises `PreflightError`."""

    def run(self, jobs: Sequence[Job], resources: Resources, listener: Listener) -> None: ...


@dataclass
class Outcome:
    """How a study ended. `computed` counts artefacts made, `reused` those found."""

    trials: int = 0
    failed: list[str] = field(default_factory=list)
    computed: int = 0
    reused: int = 0
    interrupted: bool = False


def find_study(name: str, location: Location) -> Study:
    """Return the study of that name as it was stored. Raises `ConfigError` with the nearest name."""
    storage = open_storage(location)
    stored = _stored(name, storage) if re.fullmatch(r"[\w.-]+", name) else None
    if stored is None:
        known = storage.study_names()
        hint = nearest(name, known) if known else "the storage has no studies yet"
        raise ConfigError(Problem(str(location), f"no study is named {name!r}", hint))
    return stored


def _stored(name: str, storage: Storage) -> Study | None:
    text = storage.study_text(name)
    if text is None:
        return None
    source = f"{storage.study_address(name)}/study.yaml"
    return load_study_text(text, source=source, base=storage.study_folder(name))


def upstream_of(study: Study, data: DataView) -> list[Trial]:
    """Return the trials that a study's first sweep starts from: none, or those kept by its base."""
    if study.base is None:
        return []
    base = find_study(study.base.study, study.storage)
    return base_trials(study.base, base, open_storage(study.storage).ledger(base.name).trials(), data)


class StudyRun:
    """One run of a study on a storage. Raises `ConfigError` if the name holds another study."""

    def __init__(
        self, study: Study, data: DataView, executor: Executor, observers: Sequence[Observer] = ()
    ) -> None:
        self.study = study
        self.data = data
        self.executor = executor
        self.observers = observers
        self.storage = open_storage(study.storage)
        self.store = self.storage.store
        self.outcome = Outcome()
        self._results: dict[str, Result] = {}
        self._checked = False
        check_same_content(study)
        self.storage.write_study(study.name, dump_study(study))
        self.ledger = self.storage.ledger(study.name)
        self._known = self.ledger.trials()

    def run(self) -> Outcome:
        """Run all sweeps. An interrupt ends the run cleanly: everything finished is kept."""
        kept = upstream_of(self.study, self.data)
        address = self.storage.study_address(self.study.name)
        self._tell(StudyStarted(self.study.name, address, dump_study(self.study)))
        kept_of: dict[str, list[Trial]] = {}
        try:
            for sweep in self.study.sweeps:
                upstream = kept_of[sweep.replicate] if sweep.replicate else kept
                trials = sweep_trials(self.study, sweep, upstream, self.data)
                kept = kept_of[sweep.name] = self._run_sweep(sweep, trials)
                if self.study.retain == "kept":
                    evict_unkept(self.storage)
        except KeyboardInterrupt:
            self.outcome.interrupted = True
        self._tell(StudyFinished(len(self.outcome.failed), self.outcome.interrupted))
        return self.outcome

    def _run_sweep(self, sweep: Sweep, trials: list[Trial]) -> list[Trial]:
        self._tell(SweepStarted(sweep.name, sweep.metric or "", tuple(trial.info for trial in trials)))
        waiting = []
        for trial in trials:
            known = self._known.get(trial.info.id)
            if known is None or (known.keys, known.configuration) != (trial.keys, trial.configuration):
                self.ledger.append("trial", **trial.record())
                self._known.pop(trial.info.id, None)
            self.outcome.trials += 1
            if trial.chain.pending(self.store):
                waiting.append(trial)
            else:
                self._finish_cached(trial)
        if waiting and not self._checked:
            self.executor.preflight([sweep.resources for sweep in self.study.sweeps])
            self._checked = True
        by_id = {trial.info.id: trial for trial in waiting}
        self._execute([Job(trial.info.id, trial.chain) for trial in waiting], sweep.resources, by_id)
        kept = kept_trials(sweep, trials, {name: result.metrics for name, result in self._results.items()})
        ids = tuple(trial.info.id for trial in kept)
        self.ledger.append(
            "kept", sweep=sweep.name, ids=list(ids), keys=sorted({k for t in kept for k in t.keys.values()})
        )
        self._tell(SweepFinished(sweep.name, ids))
        return kept

    def _execute(self, jobs: list[Job], resources: Resources, trials: dict[str, Trial]) -> None:
        """Run jobs; what several of them lack is made first, once."""
        if not jobs:
            return
        shared = _shared_jobs(jobs, self.store)
        self._execute(shared, resources, {})
        self.executor.run(jobs, resources, _Driver(self, trials))

    def _finish_cached(self, trial: Trial) -> None:
        self._tell(TrialStarted(trial.info))
        for node in trial.chain.nodes:
            self._tell(StageFinished(trial.info.id, node.label, node.key, cached=True))
        self._end(trial, "", cached=True, seconds=0.0)

    def _end(self, trial: Trial, error: str, *, cached: bool, seconds: float) -> None:
        result = Result() if error else chain_result(trial.chain, self.store)
        if error:
            self.outcome.failed.append(trial.info.id)
        else:
            self._results[trial.info.id] = result
        status = "failed" if error else "done"
        known = self._known.get(trial.info.id)
        if not (cached and known and known.status == "done" and known.metrics == result.metrics):
            self.ledger.append(
                "end", id=trial.info.id, status=status, metrics=result.metrics, error=error, seconds=seconds
            )
        self._tell(
            TrialFinished(
                trial.info,
                "failed" if error else "done",
                result.metrics,
                result.per_class,
                result.files,
                error,
                cached,
            )
        )

    def _tell(self, event: Event) -> None:
        if isinstance(event, StageFinished):
            if event.cached:
                self.outcome.reused += 1
            else:
                self.outcome.computed += 1
        for observer in self.observers:
            observer.on_event(event)


class _Driver:
    """The listener that an executor talks to: turns ended jobs into results, records and events."""

    def __init__(self, run: StudyRun, trials: dict[str, Trial]) -> None:
        self._run = run
        self._trials = trials
        self._began: dict[str, float] = {}

    def started(self, job: str) -> None:
        self._began.setdefault(job, time.monotonic())
        if job in self._trials:
            self._run._tell(TrialStarted(self._trials[job].info))

    def event(self, event: Event) -> None:
        self._run._tell(event)

    def ended(self, job: str, error: str) -> None:
        if job in self._trials:
            seconds = round(time.monotonic() - self._began.get(job, time.monotonic()), 3)
            self._run._end(self._trials[job], error, cached=False, seconds=seconds)


def _shared_jobs(jobs: Sequence[Job], store: Store) -> list[Job]:
    """Return a job for every part that two or more of `jobs` lack."""
    users: dict[str, int] = {}
    pending = {job.id: job.chain.pending(store) for job in jobs}
    for nodes in pending.values():
        for node in nodes:
            users[node.key] = users.get(node.key, 0) + 1
    shared: dict[str, Job] = {}
    for job in jobs:
        common = [node for node in pending[job.id] if users[node.key] > 1]
        if common and len(common) < len(pending[job.id]):
            last = common[-1]
            shared.setdefault(last.key, Job(f"shared-{last.key[:8]}", job.chain.upto(last.label)))
        elif common:
            shared.setdefault(common[-1].key, Job(f"shared-{common[-1].key[:8]}", job.chain))
    return list(shared.values()) if len(shared) < len(jobs) else []


def check_same_content(study: Study) -> None:
    """Refuse to go on under a name that already holds another study, showing the difference."""
    # Read and written anew, so that a key which has come to exist since is there with its default.
    stored = _stored(study.name, open_storage(study.storage))
    if stored is None:
        return
    old = dump_study(stored).splitlines()
    new = dump_study(study).splitlines()
    changed = [
        line
        for line in difflib.unified_diff(old, new, lineterm="", n=0)
        if line[:1] in "+-" and not line.startswith(("+++", "---"))
    ]
    changed = [line for line in changed if not re.match(r"[+-](storage|tracking|  uri):", line)]
    if changed:
        problems = [Problem("", line) for line in changed]
        raise ConfigError(
            problems,
            title=(
                f"the storage has another study named {study.name!r}; "
                "give this one its own with --name NAME. What differs (- stored, + now)"
            ),
        )
