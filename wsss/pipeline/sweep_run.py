"""Running one sweep: begin its trials, hand out jobs, judge them, record their ends, choose what is kept."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from wsss.addresses import scrub
from wsss.config import Sweep
from wsss.pipeline.events import (
    Event,
    SharedEnded,
    StageFinished,
    StepPart,
    SweepFinished,
    SweepStarted,
    TrialFinished,
    TrialProgress,
    TrialStarted,
    TrialStatus,
)
from wsss.pipeline.executor import Job
from wsss.pipeline.outcome import BudgetReached
from wsss.pipeline.past.results import Result, chain_result, own_steps, unreported
from wsss.pipeline.past.tried import attempts, tried_by
from wsss.pipeline.search.judging import Verdicts
from wsss.pipeline.search.population import Population
from wsss.pipeline.search.searches import Searches, shared_jobs
from wsss.pipeline.search.selection import kept_trials
from wsss.pipeline.search.trials import Trial, branches, sweep_trials
from wsss.pipeline.session import Session


class SweepRun:
    """One sweep of a run, and the listener that the executor talks to.

    Args:
        session: what the sweeps of the run share.
        sweep: the sweep.
        upstream: the kept trials that it starts from; empty for the first sweep.
    """

    def __init__(self, session: Session, sweep: Sweep, upstream: Sequence[Trial]) -> None:
        self._session = session
        self._sweep = sweep
        self._upstream = upstream
        arms = branches(session.study, sweep, upstream, session.data)
        self._population = Population(sweep, arms, session.records, session.store)
        self._searches = Searches(arms, session.records)
        self._verdicts = Verdicts(sweep, session.store, session.judges)
        self._trials: dict[str, Trial] = {}
        """Those that have begun, by id."""
        self._jobs: dict[str, Job] = {}
        """By id: those that an executor has, had, or gets next."""
        self._began: dict[str, float] = {}

    def run(self) -> list[Trial]:
        """Run the sweep to its end; return the trials that are kept. Raises `BudgetReached`."""
        session, sweep = self._session, self._sweep
        trials = self._known_trials()
        total = len(trials) + self._searches.left
        infos = tuple(trial.info for trial in trials)
        session.tell(SweepStarted(sweep.name, sweep.metric or "", infos, total))
        self._evolve()
        waiting = [trial for trial in self._known_trials() if self._begin(trial)]
        if waiting or self._searches.left:
            self._make(waiting)
        trials = self._known_trials()
        kept = kept_trials(sweep, trials, self._finished(trials))
        ids = tuple(trial.info.id for trial in kept)
        keys = sorted({key for trial in kept for key in trial.keys.values()})
        session.ledger.append("kept", sweep=sweep.name, ids=list(ids), keys=keys)
        arms = {trial.info.id: trial.info.arm for trial in kept}
        among = attempts(session.study, session.storage, session.records, through=sweep.name)
        tried = tried_by(arms.values(), among, session.store)
        session.tell(SweepFinished(sweep.name, ids, {id: tried[arm] for id, arm in arms.items()}))
        return kept

    def _known_trials(self) -> list[Trial]:
        """Return the trials that are known by now: a search that learns from scores adds to them."""
        if self._population.evolved:
            return self._population.members
        session = self._session
        return sweep_trials(session.study, self._sweep, self._upstream, session.data, session.records)

    def _finished(self, trials: Sequence[Trial]) -> dict[str, dict[str, float]]:
        """Return the metrics of the trials that may be kept: no seed of their configuration was stopped."""
        session = self._session
        stopped = {trial.configuration for trial in trials if trial.info.id in session.outcome.stopped}
        return {
            trial.info.id: session.results[trial.info.id].metrics
            for trial in trials
            if trial.info.id in session.results and trial.configuration not in stopped
        }

    # Beginning

    def _evolve(self) -> None:
        """Train a population, part by part; without one there is nothing to do."""
        session, started = self._session, set[str]()
        for parts in self._population.generations():
            session.afford_all(self._population.members)
            session.check()
            for trial, _ in parts:
                session.record(trial, again=True)
                if trial.info.id not in started:
                    started.add(trial.info.id)
                    session.start(trial)
            self._execute([Job(trial.info.id, chain) for trial, chain in parts])
            reached = session.meter.reached()
            if reached:  # a population with gaps would evolve differently
                raise BudgetReached(reached)

    def _begin(self, trial: Trial) -> bool:
        """Write a trial to the ledger before anything of it runs; return whether there is work left."""
        session, verdicts = self._session, self._verdicts
        known = session.record(trial)
        session.outcome.trials += 1
        self._trials[trial.info.id] = trial
        if known.status == "stopped":
            verdicts.remember(trial, known)
            session.tell(TrialStarted(trial.info, trial.stages))
            self._end(trial, stopped=known.reason, cached=True)
            return False
        trial.chain.look_at_scores(session.store)
        if trial.chain.pending(session.store):
            verdicts.remember(trial)
            reason = verdicts.classifier_stopped(trial)
            if reason:
                session.tell(TrialStarted(trial.info, trial.stages))
                self._end(trial, stopped=reason, cached=True)
                return False
            session.record(trial, again=True)
            return True
        verdicts.remember(trial, known)
        session.tell(TrialStarted(trial.info, trial.stages))
        for node in trial.chain.nodes:
            session.tell(StageFinished(trial.info.id, node.label, node.key, cached=True))
        self._end(trial, cached=True)
        return False

    # Handing out

    def _make(self, waiting: list[Trial]) -> None:
        """Run trials, as many as the budget allows. Raises `BudgetReached` when some are left."""
        session, searches = self._session, self._searches
        now = session.affordable(waiting)
        if now or (searches.left and self._may_ask()):
            session.check()
        jobs = [Job(trial.info.id, trial.chain, (trial,)) for trial in now]
        if searches.left and len(now) == len(waiting) and (now or self._may_ask()):
            self._execute(searches.shared(session.store))
            self._hand_out(itertools.chain(jobs, self._ask()))
        else:
            self._execute(jobs)
        reached = session.meter.reached()
        for trial in self._under_way() if reached else ():
            if not trial.chain.pending(session.store):  # stopped after its last step
                self._end(trial)
        limited = reached or session.study.budget.trials is not None
        if len(now) < len(waiting) or searches.left or (limited and self._under_way()):
            raise BudgetReached(reached or "trials")

    def _ask(self) -> Iterator[Job]:
        """Iterate over the jobs of configurations that are asked for when there is room for them, in the
        cluster and in the budget."""
        while self._searches.left and self._may_ask():
            begun = self._uncounted()
            trials = self._searches.ask()
            # All of a configuration's seeds are written before one of them starts.
            waiting = [trial for trial in trials if self._begin(trial)]
            for trial in self._session.affordable(waiting, begun):
                yield Job(trial.info.id, trial.chain, (trial,))

    def _may_ask(self) -> bool:
        """Whether the budget has room for a trial besides those that are under way."""
        meter = self._session.meter
        room = meter.room()
        return not meter.reached() and (room is None or room > self._uncounted())

    def _uncounted(self) -> int:
        """Return how many trials are under way that the budget has not counted yet."""
        return sum(not self._session.meter.counted(trial.info.id) for trial in self._under_way())

    def _under_way(self) -> list[Trial]:
        return [trial for trial in self._trials.values() if not self._session.has_ended(trial)]

    def _execute(self, jobs: list[Job]) -> None:
        """Run jobs. An artefact that several of them lack is made first, once; its verdict holds for all
        of them."""
        if not jobs:
            return
        self._jobs.update({job.id: job for job in jobs})
        self._execute(shared_jobs(jobs, self._session.store))
        left = [job for job in jobs if not self._verdicts.stopped_all(job.users)]
        if left:
            self._hand_out(left)

    def _hand_out(self, jobs: Iterable[Job]) -> None:
        """Let the executor make jobs until they are done or the budget is used up."""
        session = self._session
        if session.meter.reached():
            return
        handed = list(jobs) if isinstance(jobs, list) else self._noted(jobs)
        try:
            session.executor.run(handed, self._sweep.resources, self)
        finally:
            if not session.overtaken:  # else the ledger is another run's, or was moved
                session.meter.stopped()
        session.refuse_overtaken()

    def _noted(self, jobs: Iterable[Job]) -> Iterator[Job]:
        for job in jobs:
            self._jobs[job.id] = job
            yield job

    # Listening to the executor

    def started(self, job: str) -> None:
        self._began.setdefault(job, time.monotonic())
        self._session.meter.started(job, self._sweep.resources.gpu)
        trial = self._own_trial(job)
        if trial is not None:
            self._session.start(trial)

    def holds(self, job: str, gpus: float) -> None:
        self._session.meter.holds(job, gpus)

    def event(self, event: Event) -> bool:
        if not (isinstance(event, TrialProgress) and event.replayed):
            self._session.tell(event)
        if not isinstance(event, TrialProgress | StageFinished):
            return True
        job = self._jobs[event.trial]
        for trial in job.users:
            for node in trial.chain.nodes:
                if node.key == job.chain[event.stage].key:  # under the name that it has in its chain
                    own = event if event.stage == node.label else replace(event, stage=node.label)
                    self._verdicts.on_event(trial, own)
                    break
        return not self._verdicts.stopped_all(job.users)

    def part(self, part: StepPart) -> None:
        self._session.tell(part)

    def stopping(self) -> bool:
        return self._session.overtaken or bool(self._session.meter.reached())

    def ended(self, job: str, error: str) -> None:
        session = self._session
        if error and session.look_overtaken():
            return  # the files it worked with are another run's by now, or were moved: no fault of the trial
        error = scrub(error)  # a traceback repeats what libraries were given; this is written down
        trial = self._own_trial(job)
        session.meter.ended(job, trial=trial is not None)
        if trial is not None:
            seconds = round(time.monotonic() - self._began.get(job, time.monotonic()), 3)
            stopped = "" if error else self._verdicts.stopped(trial)
            self._end(trial, error=error, stopped=stopped, seconds=seconds)
        elif self._jobs[job].users:
            session.tell(SharedEnded(job))
            for user in self._jobs[job].users:
                # Users that stand for others have not begun.
                reason = self._verdicts.stopped(user)
                if reason and self._trials.get(user.info.id) is user and not session.has_ended(user):
                    session.meter.ended(user.info.id, trial=True)
                    session.tell(TrialStarted(user.info, user.stages))
                    self._end(user, stopped=reason)

    def _own_trial(self, job: str) -> Trial | None:
        """Return the trial whose whole chain a job makes, None for shared work and parts of members."""
        return self._trials.get(job) if self._jobs[job].users else None

    # Ending

    def _end(
        self, trial: Trial, *, error: str = "", stopped: str = "", cached: bool = False, seconds: float = 0.0
    ) -> None:
        """Record and tell how a trial ended.

        Args:
            trial: one that has begun.
            error: what it failed at; empty if it did not.
            stopped: why it was given up; empty if it was not.
            cached: it was found so, nothing was computed.
            seconds: how long it ran.
        """
        session, id = self._session, trial.info.id
        result = Result() if error else chain_result(trial.chain, session.store)
        if result.lacking and not stopped:
            error = f"{result.lacking[0]} has changed since it was made; resume makes it again"
            result = Result()
        status: TrialStatus = "failed" if error else "stopped" if stopped else "done"
        if error:
            session.outcome.failed.append(id)
        elif stopped:
            session.outcome.stopped.append(id)
            result = unreported(result)
        else:
            session.results[id] = result
        known = session.records[id]
        rungs = self._verdicts.rungs(trial)
        if not (cached and (known.status, known.metrics) == (status, result.metrics)):
            content = {"metrics": result.metrics, "error": error, "reason": stopped, "rungs": rungs}
            session.ledger.append("end", id=id, status=status, seconds=seconds, **content)
            known.status, known.metrics, known.error, known.reason = status, result.metrics, error, stopped
            known.rungs, known.seconds = list(rungs), known.seconds + seconds  # as the ledger is read back
        self._searches.ended(trial, status, result.metrics, rungs)
        steps = own_steps(id, trial.keys, session.upstream_keys(trial), session.store)
        finished = TrialFinished(
            trial.info,
            status,
            metrics=result.metrics,
            per_class=result.per_class,
            files=result.files,
            error=error,
            cached=cached,
            reason=stopped,
            steps=steps,
        )
        session.tell(finished)
