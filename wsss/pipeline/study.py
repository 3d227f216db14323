"""Running a study: sweep by sweep, over whatever executor there is.

The driver alone decides, records and notifies observers: executors (in this process, or Ray) only make
what it hands them. The ledger, the store and the partial artefacts are the whole truth, so that a
study goes on from any of them, however it was stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from wsss.config import Study, dump_study
from wsss.data.readers.inventory import Inventory
from wsss.data.view import DataView
from wsss.pipeline.check import Check
from wsss.pipeline.events import Observer, StudyFinished, StudyStarted
from wsss.pipeline.executor import Executor
from wsss.pipeline.origin import data_parts, data_source
from wsss.pipeline.outcome import BudgetReached, Outcome
from wsss.pipeline.past.retention import evict_unkept
from wsss.pipeline.past.stored_studies import check_same_content, stored_text, upstream_of
from wsss.pipeline.running import StudyLease
from wsss.pipeline.search.budget import describe
from wsss.pipeline.search.judging import JudgeFactory, check_rungs
from wsss.pipeline.search.parts import variable_places
from wsss.pipeline.search.selection import Kept
from wsss.pipeline.search.trials import Trial
from wsss.pipeline.session import Session
from wsss.pipeline.sweep_run import SweepRun
from wsss.store.storage import open_storage


class StudyRun:
    """One run of a study on a storage. Raises `ConfigError` if the name holds another study.

    The arguments are those of `Session`, which it makes; the storage is the study's.
    """

    def __init__(
        self,
        study: Study,
        data: DataView,
        executor: Executor,
        observers: Sequence[Observer] = (),
        judges: JudgeFactory | None = None,
        *,
        preflight: Callable[[], Sequence[Check]] = tuple,
        clock: Callable[[], float] = time.monotonic,
        inventory: Inventory | None = None,
        lease: StudyLease | None = None,
    ) -> None:
        storage = open_storage(study.storage)
        check_same_content(study, inventory)
        check_rungs(study, data)
        storage.write_study(study.name, stored_text(study, storage))
        self.session = Session(
            study,
            data,
            storage,
            executor,
            observers,
            judges,
            preflight=preflight,
            clock=clock,
            inventory=inventory,
            lease=lease,
        )

    def run(self) -> Outcome:
        """Run all sweeps. An interrupt, or a budget that is used up, ends the run cleanly: everything
        finished is kept. Raises `PreflightError` when what is left to do could not be done, and `Overtaken`
        when another run has taken the study's lease."""
        session = self.session
        study, outcome, meter = session.study, session.outcome, session.meter
        upstream = upstream_of(study, session.data)
        session.base_keys = {key for trial in upstream for key in trial.keys.values()}
        session.tell(
            StudyStarted(
                name=study.name,
                folder=session.storage.study_address(study.name),
                config=dump_study(study),
                origin=session.origin,
                data=data_parts(session.inventory),
                source=data_source(study),
                places=variable_places(study),
            )
        )
        try:
            self._run_sweeps(upstream)
            session.remember_data()
        except KeyboardInterrupt:
            outcome.interrupted = True
        except BudgetReached as reached:
            outcome.interrupted = True
            outcome.budget_key = reached.key
            outcome.budget = f"{describe(reached.key, meter.spent(), study.budget)}{reached.more}"
        finally:
            if not session.overtaken:
                meter.note()
        if outcome.interrupted:  # what runs is marked as ended, unless another run is at it
            session.refuse_overtaken(look=True)
        session.tell(StudyFinished(len(outcome.failed), outcome.interrupted))
        return outcome

    def _run_sweeps(self, base: Sequence[Trial]) -> None:
        session, kept = self.session, Kept(base)
        for number, sweep in enumerate(session.study.sweeps):
            upstream = kept.before(sweep)
            if number and not upstream:
                kept.add(sweep, [])  # nothing was kept that it could start from
                continue
            kept.add(sweep, SweepRun(session, sweep, upstream).run())
            if session.study.retain == "kept" and evict_unkept(session.storage):
                session.meter.deleted_some()
