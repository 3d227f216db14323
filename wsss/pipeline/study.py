"""Running a study: sweep by sweep, trial by trial, over whatever executor there is.

The driver alone decides, records and tells: executors (in this process, or Ray) only make what
they are handed. The ledger, the store and the partial artefacts are the whole truth, so that a
study goes on from any of them, however it was stopped.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from wsss.config import Pbt, Study, Sweep, dump_study
from wsss.data.inventory import Inventory
from wsss.data.view import DataView
from wsss.errors import Problem
from wsss.pipeline.budget import Meter, describe
from wsss.pipeline.driver import Driver, Executor
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
    TrialStatus,
)
from wsss.pipeline.judging import JudgeFactory, Verdicts, check_rungs
from wsss.pipeline.ledger import TrialRecord
from wsss.pipeline.outcome import BudgetReached, Outcome
from wsss.pipeline.population import decided_generation, next_generation, span_labels
from wsss.pipeline.readiness import Check, refuse_bad
from wsss.pipeline.results import Result, chain_result, own_steps, unreported
from wsss.pipeline.retention import evict_unkept
from wsss.pipeline.running import Overtaken, StudyLease
from wsss.pipeline.searches import Job, Searches, shared_jobs
from wsss.pipeline.selection import kept_trials
from wsss.pipeline.storage import open_storage
from wsss.pipeline.stored import check_same_content, stored_text, upstream_of
from wsss.pipeline.trials import Branch, Trial, branches, population, sweep_trials


class StudyRun:
    """One run of a study on a storage. Raises `ConfigError` if the name holds another study.

    `ready` looks at what isn't the executor's (storage, tracking) before the first trial starts;
    `clock` gives seconds. `inventory` is what the data hold, kept for the next run once this one starts
    work; with it, data of the same content may have moved. `lease` is the right to run the study: a run
    that loses it stops and raises `Overtaken`.
    """

    def __init__(
        self,
        study: Study,
        data: DataView,
        executor: Executor,
        observers: Sequence[Observer] = (),
        judges: JudgeFactory | None = None,
        *,
        ready: Callable[[], Sequence[Check]] = tuple,
        clock: Callable[[], float] = time.monotonic,
        inventory: Inventory | None = None,
        lease: StudyLease | None = None,
    ) -> None:
        self.study = study
        self.data = data
        self.executor = executor
        self.observers = observers
        self.judges = judges
        self.storage = open_storage(study.storage)
        self.store = self.storage.store
        self.outcome = Outcome()
        self._results: dict[str, Result] = {}
        self._checked = False
        self._base_keys: set[str] = set()
        self._inventory = inventory
        self._lease = lease
        check_same_content(study, inventory)
        check_rungs(study, data)
        self.storage.write_study(study.name, stored_text(study, self.storage))
        self.ledger = self.storage.ledger(study.name)
        self._known = self.ledger.trials()
        self._ready = ready
        self.meter = Meter(study.budget, self.ledger, self.store, clock)

    def run(self) -> Outcome:
        """Run all sweeps. An interrupt, or a budget that is used up, ends the run cleanly: everything
        finished is kept. Raises `PreflightError` when what is left to do could not be done."""
        kept = upstream_of(self.study, self.data)
        self._base_keys = {key for trial in kept for key in trial.keys.values()}
        address = self.storage.study_address(self.study.name)
        self.tell(StudyStarted(self.study.name, address, dump_study(self.study)))
        kept_of: dict[str, list[Trial]] = {}
        try:
            for number, sweep in enumerate(self.study.sweeps):
                upstream = kept_of[sweep.replicate] if sweep.replicate else kept
                if number and not upstream:
                    kept = kept_of[sweep.name] = []  # nothing was kept that it could start from
                    continue
                kept = kept_of[sweep.name] = self._run_sweep(sweep, upstream)
                if self.study.retain == "kept" and evict_unkept(self.storage):
                    self.meter.deleted_some()
            self._remember_data()
        except KeyboardInterrupt:
            self.outcome.interrupted = True
        except BudgetReached as reached:
            self.outcome.interrupted = True
            key, more = reached.args
            self.outcome.budget_key = key
            self.outcome.budget = f"{describe(key, self.meter.spent(), self.study.budget)}{more}"
        finally:
            self.meter.note()
        if self.outcome.interrupted:  # what runs is marked as ended, unless another run is at it
            self._refuse_overtaken(look=True)
        self.tell(StudyFinished(len(self.outcome.failed), self.outcome.interrupted))
        return self.outcome

    def _run_sweep(self, sweep: Sweep, upstream: list[Trial]) -> list[Trial]:
        trials = sweep_trials(self.study, sweep, upstream, self.data, self._known)
        searches = Searches(branches(self.study, sweep, upstream, self.data), self._known)
        total = len(trials) + searches.left
        self.tell(SweepStarted(sweep.name, sweep.metric or "", tuple(t.info for t in trials), total))
        if isinstance(sweep.scheduler, Pbt):
            trials = self._evolve(sweep, branches(self.study, sweep, upstream, self.data))
        driver = Driver(self, sweep.resources, Verdicts(sweep, self.store, self.judges), searches)
        waiting = [trial for trial in trials if self._begin(trial, driver)]
        if searches.left:
            self._make(waiting, searches, driver)
            trials = sweep_trials(self.study, sweep, upstream, self.data, self._known)
        elif waiting:
            self._make(waiting, searches, driver)
        kept = kept_trials(sweep, trials, self._finished(trials))
        ids = tuple(trial.info.id for trial in kept)
        self.ledger.append(
            "kept", sweep=sweep.name, ids=list(ids), keys=sorted({k for t in kept for k in t.keys.values()})
        )
        self.tell(SweepFinished(sweep.name, ids))
        return kept

    def _make(self, waiting: list[Trial], searches: Searches, driver: Driver) -> None:
        """Run trials, as many as the budget allows. Raises `BudgetReached` when some are left."""
        now = self._affordable(waiting)
        if now or (searches.left and self._affordable_more(driver)):
            self._check()
        jobs = [Job(trial.info.id, trial.chain, (trial,)) for trial in now]
        if searches.left and len(now) == len(waiting) and (now or self._affordable_more(driver)):
            shared = searches.shared(self.store)
            driver.share(shared)
            self._execute(shared, driver)
            self._hand(itertools.chain(jobs, self._ask(searches, driver)), driver)
        else:
            self._execute(jobs, driver)
        reached = self.meter.reached()
        for trial in self._left(driver) if reached else ():
            if not trial.chain.pending(self.store):  # stopped after its last step
                self.end(trial, driver)
        limited = reached or self.study.budget.trials is not None
        if len(now) < len(waiting) or searches.left or (limited and self._left(driver)):
            raise BudgetReached(reached or "trials")

    def _check(self) -> None:
        """Look once, before anything runs, whether it could. Raises `PreflightError`."""
        if self._checked:
            return
        checks = (*self._ready(), *self.executor.preflight([s.resources for s in self.study.sweeps]))
        self.tell(PreflightDone(checks))
        refuse_bad(checks)
        self._remember_data()
        self._checked = True

    def _remember_data(self) -> None:
        """Keep what the data hold, now that work with them begins or none is left to do."""
        if self._inventory is not None and self._inventory != self.storage.inventory(self.study.name):
            self.storage.write_inventory(self.study.name, self._inventory)

    @property
    def overtaken(self) -> bool:
        """Whether another run has taken the study over."""
        return self._lease is not None and self._lease.lost

    def _refuse_overtaken(self, *, look: bool = False) -> None:
        """Raise `Overtaken` if another run has the study, as far as the last sign of life tells, or now."""
        if self._lease is not None and (self._lease.lost or (look and not self._lease.still_mine())):
            raise Overtaken(Problem(self.study.name, "another run has taken over", "this one was frozen"))

    def _affordable(self, waiting: list[Trial], begun: int = 0) -> list[Trial]:
        """Return those that the budget has room for, when `begun` others that count are under way."""
        if self.meter.reached():
            return []
        room = self.meter.room()
        if room is None:
            return waiting
        fresh = [trial.info.id for trial in waiting if not self.meter.counted(trial.info.id)]
        return [trial for trial in waiting if trial.info.id not in fresh[max(0, room - begun) :]]

    def _affordable_more(self, driver: Driver) -> bool:
        """Whether the budget has room for a trial besides those that are under way."""
        room = self.meter.room()
        return not self.meter.reached() and (room is None or room > self._under_way(driver))

    def _under_way(self, driver: Driver) -> int:
        return sum(not self.meter.counted(trial.info.id) for trial in self._left(driver))

    def _left(self, driver: Driver) -> list[Trial]:
        return [trial for trial in driver.trials.values() if not self._has_ended(trial)]

    def _has_ended(self, trial: Trial) -> bool:
        id = trial.info.id
        return id in self._results or id in self.outcome.failed or id in self.outcome.stopped

    def _evolve(self, sweep: Sweep, arms: Sequence[Branch]) -> list[Trial]:
        """Train every arm's population, one part of all its classifiers after the other.

        What a part goes on from follows from the rung scores of the parts before it, all of which are
        in the store. A member that failed is among the worst, and what was decided without it stays: the
        ledger has it as the members' history.
        """
        told: set[str] = set()
        found = {arm.label: population(arm, {}) for arm in arms}
        rounds = max(len(span_labels(trial.chain)) for members in found.values() for trial in members)
        for generation in range(rounds):
            if generation:
                for arm in arms:
                    found[arm.label] = decided_generation(arm, self._known, generation) or next_generation(
                        arm, found[arm.label], generation, self.store
                    )
            open_arms = [a for a in arms if decided_generation(a, self._known, generation + 1) is None]
            members = [trial for arm in open_arms for trial in found[arm.label]]
            todo = []
            for trial in members:
                spans = span_labels(trial.chain)
                chain = trial.chain.upto(spans[min(generation, len(spans) - 1)])
                if generation < len(spans) and chain.pending(self.store):
                    todo.append((trial, chain))
            if todo:
                self._afford_population([trial for them in found.values() for trial in them])
                self._check()
            for trial, _ in todo:
                self._write(trial, again=True)
                if trial.info.id not in told:
                    told.add(trial.info.id)
                    self.start(trial)
            jobs = [Job(trial.info.id, chain) for trial, chain in todo]
            self._execute(jobs, Driver(self, sweep.resources))
            reached = self.meter.reached()
            if reached and jobs:  # a population with gaps would evolve differently
                raise BudgetReached(reached)
        return [trial for members in found.values() for trial in members]

    def _afford_population(self, members: Sequence[Trial]) -> None:
        """Raise `BudgetReached` unless all members may be trained: fewer would evolve differently."""
        room = self.meter.room()
        fresh = [t for t in members if not self.meter.counted(t.info.id) and t.chain.pending(self.store)]
        if room is not None and len(fresh) > room:
            raise BudgetReached("trials", f"; a population's {len(members)} members are trained together")

    def _write(self, trial: Trial, *, again: bool = False) -> TrialRecord:
        """Write a trial to the ledger, unless it is there as it is now. `again`: write that one which has
        ended is begun again, so that nobody deletes what it makes."""
        known, now = self._known.get(trial.info.id), TrialRecord(**trial.record())
        if known is None or not known.is_same(now):
            known = self._known[trial.info.id] = now
        elif not again or known.status == "started":
            return known
        self.ledger.append("trial", **trial.record())
        return known

    def _begin(self, trial: Trial, driver: Driver) -> bool:
        """Write a trial to the ledger before anything of it runs; return whether there is work left."""
        known = self._write(trial)
        self.outcome.trials += 1
        driver.trials[trial.info.id] = trial
        if known.status == "stopped":
            driver.verdicts.remember(trial, known)
            self.tell(TrialStarted(trial.info))
            self.end(trial, driver, stopped=known.reason, cached=True)
            return False
        trial.chain.look_at_scores(self.store)
        if trial.chain.pending(self.store):
            driver.verdicts.remember(trial)
            reason = driver.verdicts.given_up(trial)
            if reason:
                self.tell(TrialStarted(trial.info))
                self.end(trial, driver, stopped=reason, cached=True)
                return False
            self._write(trial, again=True)
            return True
        driver.verdicts.remember(trial, known)
        self._finish_cached(trial, driver)
        return False

    def _ask(self, searches: Searches, driver: Driver) -> Iterator[Job]:
        """Iterate over the jobs of configurations that are asked for when there is room for them, in the
        cluster and in the budget."""
        while searches.left and self._affordable_more(driver):
            begun = self._under_way(driver)
            trials = searches.ask()
            # All of a configuration's seeds are written before one of them starts.
            waiting = [trial for trial in trials if self._begin(trial, driver)]
            now = self._affordable(waiting, begun)
            yield from (Job(trial.info.id, trial.chain, (trial,)) for trial in now)

    def _finished(self, trials: Sequence[Trial]) -> dict[str, dict[str, float]]:
        """Return the metrics of the trials that may be kept: no seed of their configuration was stopped."""
        stopped = {trial.configuration for trial in trials if trial.info.id in self.outcome.stopped}
        return {
            trial.info.id: self._results[trial.info.id].metrics
            for trial in trials
            if trial.info.id in self._results and trial.configuration not in stopped
        }

    def _execute(self, jobs: list[Job], driver: Driver) -> None:
        """Run jobs; what several of them lack is made first, once, and judged for all of them."""
        if not jobs:
            return
        shared = shared_jobs(jobs, self.store)
        driver.share(shared)
        self._execute(shared, driver)
        left = [job for job in jobs if not driver.gave_up(job)]
        if left:
            self._hand(left, driver)

    def _hand(self, jobs: Iterable[Job], driver: Driver) -> None:
        """Let the executor make jobs until they are done or the budget is used up."""
        if self.meter.reached():
            return
        try:
            self.executor.run(jobs, driver.resources, driver)
        finally:
            self.meter.stopped()
        self._refuse_overtaken()

    def _finish_cached(self, trial: Trial, driver: Driver) -> None:
        self.tell(TrialStarted(trial.info))
        for node in trial.chain.nodes:
            self.tell(StageFinished(trial.info.id, node.label, node.key, cached=True))
        self.end(trial, driver, cached=True)

    def give_up(self, trial: Trial, driver: Driver, reason: str) -> None:
        """End a trial that has not started, as what it shares with others was stopped."""
        if not self._has_ended(trial):
            self.meter.ended(trial.info.id, trial=True)
            self.tell(TrialStarted(trial.info))
            self.end(trial, driver, stopped=reason)

    def end(
        self,
        trial: Trial,
        driver: Driver,
        *,
        error: str = "",
        stopped: str = "",
        cached: bool = False,
        seconds: float = 0.0,
    ) -> None:
        """Record and tell how a trial ended; `stopped` says why the driver gave it up."""
        id = trial.info.id
        result = Result() if error else chain_result(trial.chain, self.store)
        if result.lacking and not stopped:
            error, result = (
                f"{result.lacking[0]} has changed since it was made; resume makes it again",
                Result(),
            )
        status: TrialStatus = "failed" if error else "stopped" if stopped else "done"
        if error:
            self.outcome.failed.append(id)
        elif stopped:
            self.outcome.stopped.append(id)
            result = unreported(result)
        else:
            self._results[id] = result
        known = self._known[id]
        rungs = driver.verdicts.rungs(trial)
        if not (cached and (known.status, known.metrics) == (status, result.metrics)):
            content = {"metrics": result.metrics, "error": error, "reason": stopped, "rungs": rungs}
            self.ledger.append("end", id=id, status=status, seconds=seconds, **content)
            known.status, known.metrics = status, result.metrics
        driver.searches.ended(trial, status, result.metrics, rungs)
        steps = own_steps(id, trial.keys, self._upstream_keys(trial), self.store)
        found = (result.metrics, result.per_class, result.files)
        self.tell(TrialFinished(trial.info, status, *found, error, cached, stopped, steps))

    def _upstream_keys(self, trial: Trial) -> set[str]:
        source = self._known.get(trial.info.upstream)
        return self._base_keys | set(source.keys.values() if source else ())

    def start(self, trial: Trial) -> None:
        """Record and tell that work on a trial begins."""
        self.ledger.append("begin", id=trial.info.id)
        self.tell(TrialStarted(trial.info))

    def tell(self, event: Event) -> None:
        """Tell every observer what happened, and count it."""
        if isinstance(event, StageFinished):
            if event.cached:
                self.outcome.reused += 1
            else:
                self.outcome.computed += 1
                self.meter.made(event.key)
        for observer in self.observers:
            observer.on_event(event)
