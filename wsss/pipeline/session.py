"""One run of a study: what its sweeps have in common. It records trials, counts, and notifies observers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from wsss.config import Study
from wsss.data.readers.inventory import Inventory
from wsss.data.view import DataView
from wsss.errors import Problem
from wsss.pipeline.check import Check, refuse_bad
from wsss.pipeline.events import Event, Observer, PreflightDone, StageFinished, TrialStarted
from wsss.pipeline.executor import Executor
from wsss.pipeline.origin import ENTRY, entry_of, this_origin
from wsss.pipeline.outcome import BudgetReached, Outcome
from wsss.pipeline.past.data_inventory import store_inventory, stored_inventory
from wsss.pipeline.past.results import Result
from wsss.pipeline.running import Overtaken, StudyLease
from wsss.pipeline.search.budget import Meter
from wsss.pipeline.search.judging import JudgeFactory
from wsss.pipeline.search.trials import Trial
from wsss.store.ledger import TrialRecord
from wsss.store.storage import Storage


class Session:
    """What the sweeps of a run share.

    Args:
        study: the study, as checked.
        data: its images.
        storage: where it keeps everything.
        executor: what makes chains.
        observers: get every event, in order.
        judges: from a scheduler and an arm's epochs to the rule that stops trials; None without schedulers.
        preflight: looks at what isn't the executor's (storage, tracking) before the first trial starts.
        clock: seconds; for the budget.
        inventory: what the data hold, kept for the next run once this one starts work; None: nothing is.
        lease: the right to run the study; None without one.
    """

    def __init__(
        self,
        study: Study,
        data: DataView,
        storage: Storage,
        executor: Executor,
        observers: Sequence[Observer],
        judges: JudgeFactory | None,
        *,
        preflight: Callable[[], Sequence[Check]],
        clock: Callable[[], float],
        inventory: Inventory | None = None,
        lease: StudyLease | None = None,
    ) -> None:
        self.study = study
        self.data = data
        self.storage = storage
        self.store = storage.store
        self.executor = executor
        self.judges = judges
        self.ledger = storage.ledger(study.name)
        self.records = self.ledger.trials()
        self.meter = Meter(study.budget, self.ledger, self.store, clock)
        self.outcome = Outcome()
        self.results: dict[str, Result] = {}
        """By the id of a trial that is done in this run, or was found done."""
        self.base_keys: set[str] = set()
        """Artefacts of the study that this one starts from."""
        self.origin = this_origin()
        self._inventory = inventory
        self._lease = lease
        self._observers = observers
        self._preflight = preflight
        self._checked = self._origin_noted = False

    def tell(self, event: Event) -> None:
        """Tell every observer what happened, and count it."""
        if isinstance(event, StageFinished):
            if event.cached:
                self.outcome.reused += 1
            else:
                self.outcome.computed += 1
                self.meter.made(event.key)
        for observer in self._observers:
            observer.on_event(event)

    def check(self) -> None:
        """Run the preflight once, before anything starts. Raises `PreflightError`."""
        if self._checked:
            return
        resources = [sweep.resources for sweep in self.study.sweeps]
        checks = (*self._preflight(), *self.executor.preflight(resources))
        self.tell(PreflightDone(checks))
        refuse_bad(checks)
        self.remember_data()
        self._note_origin()
        self._checked = True

    def remember_data(self) -> None:
        """Store the inventory of the data, when work with them begins or none is left."""
        if self._inventory is not None and self._inventory != stored_inventory(self.storage, self.study.name):
            store_inventory(self.storage, self.study.name, self._inventory)

    @property
    def inventory(self) -> Inventory | None:
        """What the data hold: now, or as the last run found it where nobody looked."""
        return self._inventory or stored_inventory(self.storage, self.study.name)

    @property
    def overtaken(self) -> bool:
        """Whether another run has taken the study over, as far as the last sign of life shows."""
        return self._lease is not None and self._lease.lost

    def look_overtaken(self) -> bool:
        """Look at the lease itself whether another run has taken the study over."""
        return self._lease is not None and not self._lease.still_mine()

    def refuse_overtaken(self, *, look: bool = False) -> None:
        """Raise `Overtaken` if another run has taken the study over; `look` looks at the lease itself."""
        if self.overtaken or (look and self.look_overtaken()):
            raise Overtaken(Problem(self.study.name, "another run has taken over", "this one was frozen"))

    def record(self, trial: Trial, *, again: bool = False) -> TrialRecord:
        """Write a trial to the ledger, unless it is there as it is now.

        `again` marks an ended trial as begun again; retention then keeps its files.
        """
        known, now = self.records.get(trial.info.id), TrialRecord(**trial.record())
        if known is None or not known.is_same(now):
            if known is not None:
                now.follow(known)
            known = self.records[trial.info.id] = now
        elif not again or known.status == "started":
            return known
        self._note_origin()
        self.ledger.append("trial", **trial.record())
        return known

    def _note_origin(self) -> None:
        """Write to the ledger, once, who makes the trials that follow."""
        if not self._origin_noted:
            self._origin_noted = True
            self.ledger.append(ENTRY, **entry_of(self.origin))

    def start(self, trial: Trial) -> None:
        """Record and report that work on a trial begins."""
        self.ledger.append("begin", id=trial.info.id)
        self.tell(TrialStarted(trial.info, trial.stages))

    def upstream_keys(self, trial: Trial) -> set[str]:
        """Return the artefacts that a trial's upstream trial, or the study's base, has made."""
        source = self.records.get(trial.info.upstream)
        return self.base_keys | set(source.keys.values() if source else ())

    def has_ended(self, trial: Trial) -> bool:
        """Whether a trial has ended in this run, however it did."""
        id = trial.info.id
        return id in self.results or id in self.outcome.failed or id in self.outcome.stopped

    def affordable(self, waiting: Sequence[Trial], begun: int = 0) -> list[Trial]:
        """Return those trials that the budget has room for, when `begun` others that count are under way."""
        if self.meter.reached():
            return []
        room = self.meter.room()
        if room is None:
            return list(waiting)
        fresh = [trial.info.id for trial in waiting if not self.meter.counted(trial.info.id)]
        return [trial for trial in waiting if trial.info.id not in fresh[max(0, room - begun) :]]

    def afford_all(self, members: Sequence[Trial]) -> None:
        """Raise `BudgetReached` unless all members of a population may be trained: fewer would evolve
        differently."""
        room = self.meter.room()
        fresh = [t for t in members if not self.meter.counted(t.info.id) and t.chain.pending(self.store)]
        if room is not None and len(fresh) > room:
            more = f"; a population's {len(members)} members are trained together"
            raise BudgetReached("trials", more)
