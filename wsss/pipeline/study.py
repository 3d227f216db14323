"""Running a study: sweep by sweep, trial by trial, over whatever executor there is.

The driver alone decides, records and tells: executors (in this process, or Ray) only make what
they are handed. The ledger, the store and the partial artefacts are the whole truth, so that a
study goes on from any of them, however it was stopped.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from wsss.config import Budget, Resources, Study, Sweep, dump_study, load_study_text
from wsss.data.view import DataView
from wsss.errors import ConfigError, Problem, nearest
from wsss.files import write_atomic
from wsss.pipeline.base import base_trials
from wsss.pipeline.budget import Meter, describe
from wsss.pipeline.chain import Chain
from wsss.pipeline.events import (
    Event,
    Observer,
    PreflightDone,
    StageFinished,
    StudyFinished,
    StudyStarted,
    SweepFinished,
    SweepStarted,
    TrialFinished,
    TrialStarted,
)
from wsss.pipeline.ledger import Ledger
from wsss.pipeline.readiness import Check, refuse_bad
from wsss.pipeline.results import Result, chain_result
from wsss.pipeline.retention import evict_unkept
from wsss.pipeline.selection import kept_trials
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

    def stopping(self) -> bool:
        """Whether to let no other job start and to stop the running ones between two steps."""


class Executor(Protocol):
    """Something that makes chains. `run` returns when every job has ended, however it ended, or was
    stopped because the listener said so."""

    def preflight(self, resources: Sequence[Resources]) -> Sequence[Check]:
        """Look whether what sweeps ask for could ever be run, before anything is."""

    def run(self, jobs: Sequence[Job], resources: Resources, listener: Listener) -> None: ...


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


def studies_folder(storage: Path) -> Path:
    return storage / "studies"


def find_study(name: str, storage: Path) -> Study:
    """Return the study of that name as it was stored. Raises `ConfigError` with the nearest name."""
    folder = studies_folder(storage)
    path = folder / name / "study.yaml"
    if not re.fullmatch(r"[\w.-]+", name) or not path.is_file():
        known = sorted(p.parent.name for p in folder.glob("*/study.yaml"))
        hint = nearest(name, known) if known else "the storage has no studies yet"
        raise ConfigError(Problem(str(folder), f"no study is named {name!r}", hint))
    return load_study_text(path.read_text(), source=str(path), base=path.parent)


def upstream_of(study: Study, data: DataView) -> list[Trial]:
    """Return the trials that a study's first sweep starts from: none, or those kept by its base."""
    if study.base is None:
        return []
    base = find_study(study.base.study, study.storage)
    return base_trials(study.base, base, studies_folder(study.storage) / base.name, data)


class _BudgetReached(Exception):
    """A limit of the budget, named by the argument, is reached, and there is more to do."""


class StudyRun:
    """One run of a study on a storage. Raises `ConfigError` if the name holds another study.

    `ready` looks at what isn't the executor's (storage, tracking) before the first trial starts;
    `clock` gives seconds.
    """

    def __init__(
        self,
        study: Study,
        data: DataView,
        executor: Executor,
        observers: Sequence[Observer] = (),
        *,
        ready: Callable[[], Sequence[Check]] = tuple,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.study = study
        self.data = data
        self.executor = executor
        self.observers = observers
        self.folder = studies_folder(study.storage) / study.name
        self.store = Store(study.storage / "store")
        self.outcome = Outcome()
        self._results: dict[str, Result] = {}
        self._checked = False
        check_same_content(study)
        write_atomic(self.folder / "study.yaml", dump_study(study))
        self.ledger = Ledger(self.folder)
        self._known = self.ledger.trials()
        self._ready = ready
        self.meter = Meter(study.budget, self.ledger, self.store, clock)

    def run(self) -> Outcome:
        """Run all sweeps. An interrupt, or a budget that is used up, ends the run cleanly: everything
        finished is kept. Raises `PreflightError` when what is left to do could not be done."""
        kept = upstream_of(self.study, self.data)
        self._tell(StudyStarted(self.study.name, str(self.folder), dump_study(self.study)))
        kept_of: dict[str, list[Trial]] = {}
        try:
            for sweep in self.study.sweeps:
                upstream = kept_of[sweep.replicate] if sweep.replicate else kept
                trials = sweep_trials(self.study, sweep, upstream, self.data)
                kept = kept_of[sweep.name] = self._run_sweep(sweep, trials)
                if self.study.retain == "kept" and evict_unkept(self.study.storage, self.store):
                    self.meter.deleted_some()
        except KeyboardInterrupt:
            self.outcome.interrupted = True
        except _BudgetReached as reached:
            self.outcome.interrupted = True
            self.outcome.budget_key = str(reached)
            self.outcome.budget = describe(str(reached), self.meter.spent(), self.study.budget)
        finally:
            self.meter.note()
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
        if waiting:
            self._make(waiting, sweep.resources)
        kept = kept_trials(sweep, trials, {name: result.metrics for name, result in self._results.items()})
        ids = tuple(trial.info.id for trial in kept)
        self.ledger.append(
            "kept", sweep=sweep.name, ids=list(ids), keys=sorted({k for t in kept for k in t.keys.values()})
        )
        self._tell(SweepFinished(sweep.name, ids))
        return kept

    def _make(self, waiting: list[Trial], resources: Resources) -> None:
        """Run trials, as many as the budget allows. Raises `_BudgetReached` when some are left."""
        now = self._affordable(waiting)
        if now and not self._checked:
            checks = (*self._ready(), *self.executor.preflight([s.resources for s in self.study.sweeps]))
            self._tell(PreflightDone(checks))
            refuse_bad(checks)
            self._checked = True
        by_id = {trial.info.id: trial for trial in now}
        self._execute([Job(trial.info.id, trial.chain) for trial in now], resources, by_id)
        reached = self.meter.reached()
        for trial in self._left(now) if reached else ():
            if not trial.chain.pending(self.store):  # stopped after its last step
                self._end(trial, "", cached=False, seconds=0.0)
        if len(now) < len(waiting) or (reached and self._left(now)):
            raise _BudgetReached(reached or "trials")

    def _affordable(self, waiting: list[Trial]) -> list[Trial]:
        if self.meter.reached():
            return []
        room = self.meter.room()
        if room is None:
            return waiting
        fresh = [trial.info.id for trial in waiting if not self.meter.counted(trial.info.id)]
        return [trial for trial in waiting if trial.info.id not in fresh[room:]]

    def _left(self, trials: list[Trial]) -> list[Trial]:
        ended = {*self._results, *self.outcome.failed}
        return [trial for trial in trials if trial.info.id not in ended]

    def _execute(self, jobs: list[Job], resources: Resources, trials: dict[str, Trial]) -> None:
        """Run jobs; what several of them lack is made first, once."""
        if not jobs:
            return
        shared = _shared_jobs(jobs, self.store)
        self._execute(shared, resources, {})
        if not self.meter.reached():
            try:
                self.executor.run(jobs, resources, _Driver(self, trials, resources.gpu))
            finally:
                self.meter.stopped()

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
                self.meter.made(event.key)
        for observer in self.observers:
            observer.on_event(event)


class _Driver:
    """The listener that an executor talks to: turns ended jobs into results, records and events."""

    def __init__(self, run: StudyRun, trials: dict[str, Trial], gpus: float) -> None:
        self._run = run
        self._trials = trials
        self._gpus = gpus
        self._began: dict[str, float] = {}

    def started(self, job: str) -> None:
        self._began.setdefault(job, time.monotonic())
        self._run.meter.started(job, self._gpus)
        if job in self._trials:
            self._run._tell(TrialStarted(self._trials[job].info))

    def event(self, event: Event) -> None:
        self._run._tell(event)

    def stopping(self) -> bool:
        return bool(self._run.meter.reached())

    def ended(self, job: str, error: str) -> None:
        self._run.meter.ended(job, trial=job in self._trials)
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
    path = studies_folder(study.storage) / study.name / "study.yaml"
    if not path.is_file():
        return
    # Read and written anew, so that a key which has come to exist since is there with its default.
    stored = load_study_text(path.read_text(), source=str(path), base=path.parent)
    # How much it may use up changes nothing of what it finds.
    old = dump_study(dataclasses.replace(stored, budget=Budget())).splitlines()
    new = dump_study(dataclasses.replace(study, budget=Budget())).splitlines()
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
