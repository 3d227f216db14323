"""Running a study: sweep by sweep, trial by trial, over whatever executor there is.

The driver alone decides, records and tells: executors (in this process, or Ray) only make what
they are handed. The ledger, the store and the partial artefacts are the whole truth, so that a
study goes on from any of them, however it was stopped.
"""

from __future__ import annotations

import difflib
import itertools
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from wsss.config import Fifo, Pbt, Resources, Study, Sweep, dump_study, load_study_text
from wsss.data.view import DataView
from wsss.errors import ConfigError, Problem, nearest
from wsss.files import write_atomic
from wsss.pipeline.base import base_trials
from wsss.pipeline.events import (
    Event,
    Observer,
    StageFinished,
    StudyFinished,
    StudyStarted,
    SweepFinished,
    SweepStarted,
    TrialFinished,
    TrialProgress,
    TrialStarted,
    TrialStatus,
)
from wsss.pipeline.judging import JudgeFactory, Verdicts
from wsss.pipeline.ledger import Ledger, TrialRecord
from wsss.pipeline.population import next_generation, span_labels
from wsss.pipeline.results import Result, chain_result, unreported
from wsss.pipeline.retention import evict_unkept
from wsss.pipeline.searches import Job, Searches, shared_jobs
from wsss.pipeline.selection import kept_trials
from wsss.pipeline.store import Store
from wsss.pipeline.trials import Branch, Trial, branches, population, sweep_trials


class Listener(Protocol):
    """What an executor tells the driver."""

    def started(self, job: str) -> None: ...

    def event(self, event: Event) -> bool:
        """Return whether the job goes on. If not, the executor stops it and says that it has ended."""

    def ended(self, job: str, error: str) -> None:
        """`error` is empty when the chain is complete, or was stopped because `event` said so."""


class Executor(Protocol):
    """Something that makes chains. `run` returns when every job has ended, however it ended."""

    def preflight(self, resources: Sequence[Resources]) -> None:
        """Refuse what could never be run, before anything is. Raises `PreflightError`."""

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
    stopped: list[str] = field(default_factory=list)


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


class StudyRun:
    """One run of a study on a storage. Raises `ConfigError` if the name holds another study."""

    def __init__(
        self,
        study: Study,
        data: DataView,
        executor: Executor,
        observers: Sequence[Observer] = (),
        judges: JudgeFactory | None = None,
    ) -> None:
        self.study = study
        self.data = data
        self.executor = executor
        self.observers = observers
        self.judges = judges
        self.folder = studies_folder(study.storage) / study.name
        self.store = Store(study.storage / "store")
        self.outcome = Outcome()
        self._results: dict[str, Result] = {}
        self._checked = False
        check_same_content(study)
        _check_rungs(study, data)
        write_atomic(self.folder / "study.yaml", dump_study(study))
        self.ledger = Ledger(self.folder)
        self._known = self.ledger.trials()

    def run(self) -> Outcome:
        """Run all sweeps. An interrupt ends the run cleanly: everything finished is kept."""
        kept = upstream_of(self.study, self.data)
        self._tell(StudyStarted(self.study.name, str(self.folder), dump_study(self.study)))
        kept_of: dict[str, list[Trial]] = {}
        try:
            for number, sweep in enumerate(self.study.sweeps):
                upstream = kept_of[sweep.replicate] if sweep.replicate else kept
                if number and not upstream:
                    continue  # nothing was kept that it could start from
                kept = kept_of[sweep.name] = self._run_sweep(sweep, upstream)
                if self.study.retain == "kept":
                    evict_unkept(self.study.storage, self.store)
        except KeyboardInterrupt:
            self.outcome.interrupted = True
        self._tell(StudyFinished(len(self.outcome.failed), self.outcome.interrupted))
        return self.outcome

    def _run_sweep(self, sweep: Sweep, upstream: list[Trial]) -> list[Trial]:
        trials = sweep_trials(self.study, sweep, upstream, self.data, self._known)
        searches = Searches(branches(self.study, sweep, upstream, self.data), self._known)
        total = len(trials) + searches.left
        self._tell(SweepStarted(sweep.name, sweep.metric or "", tuple(t.info for t in trials), total))
        if isinstance(sweep.scheduler, Pbt):
            trials = self._evolve(sweep, branches(self.study, sweep, upstream, self.data))
        verdicts = Verdicts(sweep, self.store, self.judges)
        driver = _Driver(self, verdicts, searches)
        waiting = [trial for trial in trials if self._begin(trial, driver)]
        if (waiting or searches.left) and not self._checked:
            self.executor.preflight([sweep.resources for sweep in self.study.sweeps])
            self._checked = True
        jobs = [Job(trial.info.id, trial.chain) for trial in waiting]
        if searches.left:
            self._execute(searches.shared(self.store), sweep.resources, _Driver(self))
            self.executor.run(itertools.chain(jobs, self._ask(searches, driver)), sweep.resources, driver)
            trials = sweep_trials(self.study, sweep, upstream, self.data, self._known)
        else:
            self._execute(jobs, sweep.resources, driver)
        kept = kept_trials(sweep, trials, self._finished(trials))
        ids = tuple(trial.info.id for trial in kept)
        self.ledger.append(
            "kept", sweep=sweep.name, ids=list(ids), keys=sorted({k for t in kept for k in t.keys.values()})
        )
        self._tell(SweepFinished(sweep.name, ids))
        return kept

    def _evolve(self, sweep: Sweep, arms: Sequence[Branch]) -> list[Trial]:
        """Train every arm's population, one part of all its classifiers after the other.

        What a part goes on from follows from the rung scores of the parts before it, all of which are
        in the store: nothing else has to be remembered. A member that failed is among the worst.
        """
        told: set[str] = set()
        found = {arm.label: population(arm, {}) for arm in arms}
        rounds = max(len(span_labels(trial.chain)) for members in found.values() for trial in members)
        for generation in range(rounds):
            if generation:
                for arm in arms:
                    found[arm.label] = next_generation(arm, found[arm.label], generation, self.store)
            jobs = []
            for trial in (trial for members in found.values() for trial in members):
                spans = span_labels(trial.chain)
                if generation >= len(spans):
                    continue
                chain = trial.chain.upto(spans[generation])
                if not chain.pending(self.store):
                    continue
                jobs.append(Job(trial.info.id, chain))
                self._write(trial)
                if trial.info.id not in told:
                    told.add(trial.info.id)
                    self._tell(TrialStarted(trial.info))
            if jobs and not self._checked:
                self.executor.preflight([sweep.resources for sweep in self.study.sweeps])
                self._checked = True
            self._execute(jobs, sweep.resources, _Driver(self))
        return [trial for members in found.values() for trial in members]

    def _write(self, trial: Trial) -> TrialRecord:
        """Write a trial to the ledger, unless it is there as it is now."""
        known = self._known.get(trial.info.id)
        now = (trial.keys, trial.configuration, list(trial.history))
        if known is None or (known.keys, known.configuration, known.history) != now:
            self.ledger.append("trial", **trial.record())
            known = self._known[trial.info.id] = TrialRecord(**trial.record())
        return known

    def _begin(self, trial: Trial, driver: _Driver) -> bool:
        """Write a trial to the ledger before anything of it runs; return whether there is work left."""
        known = self._write(trial)
        self.outcome.trials += 1
        driver.trials[trial.info.id] = trial
        if known.status == "stopped":
            driver.verdicts.remember(trial, known)
            self._tell(TrialStarted(trial.info))
            self._end(trial, driver, stopped=known.reason, cached=True)
            return False
        if trial.chain.pending(self.store):
            return True
        driver.verdicts.remember(trial, known)
        self._finish_cached(trial, driver)
        return False

    def _ask(self, searches: Searches, driver: _Driver) -> Iterator[Job]:
        """Iterate over the jobs of configurations that are asked for when there is room for them."""
        while searches.left:
            trials = searches.ask()
            # All of a configuration's seeds are written before one of them starts.
            waiting = [trial for trial in trials if self._begin(trial, driver)]
            yield from (Job(trial.info.id, trial.chain) for trial in waiting)

    def _finished(self, trials: Sequence[Trial]) -> dict[str, dict[str, float]]:
        """Return the metrics of the trials that may be kept: no seed of their configuration was stopped."""
        stopped = {trial.configuration for trial in trials if trial.info.id in self.outcome.stopped}
        return {
            trial.info.id: self._results[trial.info.id].metrics
            for trial in trials
            if trial.info.id in self._results and trial.configuration not in stopped
        }

    def _execute(self, jobs: list[Job], resources: Resources, driver: _Driver) -> None:
        """Run jobs; what several of them lack is made first, once."""
        if not jobs:
            return
        self._execute(shared_jobs(jobs, self.store), resources, _Driver(self))
        self.executor.run(jobs, resources, driver)

    def _finish_cached(self, trial: Trial, driver: _Driver) -> None:
        self._tell(TrialStarted(trial.info))
        for node in trial.chain.nodes:
            self._tell(StageFinished(trial.info.id, node.label, node.key, cached=True))
        self._end(trial, driver, cached=True)

    def _end(
        self,
        trial: Trial,
        driver: _Driver,
        *,
        error: str = "",
        stopped: str = "",
        cached: bool = False,
        seconds: float = 0.0,
    ) -> None:
        """Record and tell how a trial ended; `stopped` says why the driver gave it up."""
        id = trial.info.id
        status: TrialStatus = "failed" if error else "stopped" if stopped else "done"
        result = Result() if error else chain_result(trial.chain, self.store)
        if error:
            self.outcome.failed.append(id)
        elif stopped:
            self.outcome.stopped.append(id)
            result = unreported(result)
        else:
            self._results[id] = result
        known = self._known[id]
        rungs = driver.verdicts.rungs(id)
        if not (cached and (known.status, known.metrics) == (status, result.metrics)):
            content = {"metrics": result.metrics, "error": error, "reason": stopped, "rungs": rungs}
            self.ledger.append("end", id=id, status=status, seconds=seconds, **content)
            known.status, known.metrics = status, result.metrics
        driver.searches.ended(trial, status, result.metrics, rungs)
        self._tell(
            TrialFinished(
                trial.info,
                status,
                result.metrics,
                result.per_class,
                result.files,
                error,
                cached,
                stopped,
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

    def __init__(
        self, run: StudyRun, verdicts: Verdicts | None = None, searches: Searches | None = None
    ) -> None:
        self._run = run
        self._began: dict[str, float] = {}
        self._stopped: dict[str, str] = {}
        self.trials: dict[str, Trial] = {}
        """By job; jobs that only prepare what several trials share have none."""
        self._verdicts = verdicts
        self._searches = searches

    @property
    def verdicts(self) -> Verdicts:
        assert self._verdicts is not None, "shared work is not judged"
        return self._verdicts

    @property
    def searches(self) -> Searches:
        assert self._searches is not None, "shared work is not searched"
        return self._searches

    def started(self, job: str) -> None:
        self._began.setdefault(job, time.monotonic())
        if job in self.trials:
            self._run._tell(TrialStarted(self.trials[job].info))

    def event(self, event: Event) -> bool:
        if not (isinstance(event, TrialProgress) and event.replayed):
            self._run._tell(event)
        if not isinstance(event, TrialProgress | StageFinished) or event.trial not in self.trials:
            return True
        reason = self.verdicts.on_event(self.trials[event.trial], event)
        if reason:
            self._stopped[event.trial] = reason
        return not reason

    def ended(self, job: str, error: str) -> None:
        if job in self.trials:
            seconds = round(time.monotonic() - self._began.get(job, time.monotonic()), 3)
            stopped = "" if error else self._stopped.get(job, "")
            self._run._end(self.trials[job], self, error=error, stopped=stopped, seconds=seconds)


def _check_rungs(study: Study, data: DataView) -> None:
    """Refuse a scheduler on images without masks: there would be no rung scores to judge by."""
    if data.has_masks:
        return
    for sweep in study.sweeps:
        if not isinstance(sweep.scheduler, Fifo):
            message = f"`{sweep.scheduler.kind}` judges by masks of `select` images, but there are none"
            raise ConfigError(Problem(f"sweep {sweep.name}", message, "use `scheduler: fifo`"))


def check_same_content(study: Study) -> None:
    """Refuse to go on under a name that already holds another study, showing the difference."""
    path = studies_folder(study.storage) / study.name / "study.yaml"
    if not path.is_file():
        return
    # Read and written anew, so that a key which has come to exist since is there with its default.
    stored = load_study_text(path.read_text(), source=str(path), base=path.parent)
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
