"""A run of a study from its lease to its end, as the command line and a notebook start it."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from wsss.addresses import shown
from wsss.config import Scheduler, Study
from wsss.config.text.location import check_cluster_address, is_remote
from wsss.data.view import DataView
from wsss.launch.concluding import conclude, report, sampled
from wsss.launch.finding import open_study_data
from wsss.launch.preflight import data_changes, preflight_checks
from wsss.launch.words import note
from wsss.pipeline.check import refuse_bad
from wsss.pipeline.events import Observer
from wsss.pipeline.executor import Executor
from wsss.pipeline.forecasts.preflight import storage_checks
from wsss.pipeline.forecasts.programs import local_programs
from wsss.pipeline.local import LocalExecutor
from wsss.pipeline.outcome import Outcome
from wsss.pipeline.past.data_inventory import stored_inventory, study_inventory
from wsss.pipeline.past.stored_studies import check_same_content
from wsss.pipeline.running import Holder, Overtaken, StudyLease, current_holder
from wsss.pipeline.search.judging import Judge
from wsss.pipeline.study import StudyRun
from wsss.store.storage import open_storage
from wsss.tracking import MlflowTracker, tracking_uri


@dataclass(frozen=True)
class Ended:
    """A run that came to its end.

    `changed` says in words what of the data has changed since the last one. `uri` is MLflow's, `page` the
    address of the study's runs on a server, empty without one. `report` is the study's page, if it could be
    written.
    """

    outcome: Outcome
    data: DataView
    changed: list[str]
    uri: str
    page: str
    report: Path | None


@dataclass(frozen=True)
class Taken:
    """A study that somebody else runs: from before, or, `overtaken`, since this run was thought dead."""

    holder: Holder | None
    uri: str
    overtaken: bool = False


@dataclass(frozen=True)
class _Way:
    """In which way a study is run; see `carry_out`."""

    local: bool
    address: str | None
    quiet: bool
    watched: bool


def carry_out(
    study: Study,
    view: Observer,
    *,
    local: bool,
    address: str | None = None,
    quiet: bool = False,
    watched: bool = False,
) -> Ended | Taken:
    """Run a study, or go on with it, unless somebody does that already.

    Args:
        study: what to run.
        view: gets every event, and is closed at the end.
        local: whether trials run in this process, without Ray.
        address: of the Ray cluster to join; this machine when None.
        quiet: whether no bar is shown while images are checked.
        watched: whether the view shows what happens within an epoch.

    Raises `WsssError` for all that is found before the first trial.
    """
    if not local:
        check_cluster_address(address)
    storage = open_storage(study.storage)
    storage.check()
    refuse_bad(storage_checks(storage.local, None))
    check_same_content(study, later=True)
    uri = tracking_uri(study.tracking.uri, study.storage)
    with ExitStack() as closing, StudyLease(study, storage, note) as lease:
        closing.callback(view.close)
        holder = lease.acquire()
        if holder is not None:
            return Taken(holder, uri)
        try:
            way = _Way(local, address, quiet, watched)
            return _run(lease, view, uri, way)
        except Overtaken:
            return Taken(current_holder(study.name, storage), uri, overtaken=True)


def _run(lease: StudyLease, view: Observer, uri: str, way: _Way) -> Ended:
    """Run the study whose lease is held; `uri` is MLflow's."""
    study, storage = lease.study, lease.storage
    data = open_study_data(study, quiet=way.quiet)
    inventory = study_inventory(study, data)
    changed = data_changes(stored_inventory(storage, study.name), inventory)
    if changed:
        _say_what_changed(study, changed)
    if is_remote(study.storage) and not (study.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI")):
        note(f"an object storage holds no MLflow database; this study's is {shown(uri)}")
    with ExitStack() as closing:
        executor: Executor
        if way.local:
            executor = LocalExecutor(storage.store, data)
        else:
            from wsss.tuning.executor import RayExecutor

            executor = distributed = RayExecutor(study, way.address, data)
            closing.callback(distributed.close)
        tracker = MlflowTracker(uri, storage.study_folder(study.name), storage=storage)
        # What another run has taken over, that one sends.
        closing.callback(lambda: tracker.close(0) if lease.lost else tracker.close())
        executor.watched = way.watched
        run = StudyRun(
            study,
            data,
            executor,
            [view, tracker],
            _judge,
            preflight=lambda: [
                *preflight_checks(study, data, uri),
                *(local_programs(study, start=True) if way.local else []),
            ],
            inventory=inventory,
            lease=lease,
        )
        with sampled(study, storage):
            outcome = run.run()
        written = report(storage, study.name, note)
        conclude(storage, study.name, written, tracker)
        return Ended(outcome, data, changed, uri, tracker.page, written)


def _say_what_changed(study: Study, changed: list[str]) -> None:
    note(f"the data of {study.name} are not those of its last run:")
    for text in changed:
        print(f"  {text}", file=sys.stderr)
    print(
        "What depends on them is computed anew; what was made of the old data stays in the storage, "
        f"and {study.name}'s results are those of the new.",
        file=sys.stderr,
        flush=True,
    )


def _judge(scheduler: Scheduler, epochs: int) -> Judge:
    """Return who judges an arm's trials. Ray is imported for its rules when there is something to judge."""
    from wsss.tuning.schedulers import make_judge

    return make_judge(scheduler, epochs)
