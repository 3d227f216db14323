"""`run STUDY` and `resume STUDY`."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wsss.cli.concluding import REPORT, conclude
from wsss.cli.options import (
    JsonOption,
    NameOption,
    SetOption,
    SmokeOption,
    StorageOption,
    StudyArgument,
    find,
    find_stored,
    open_study_data,
)
from wsss.cli.permission import AllowOption, AlwaysOption, check_permission
from wsss.cli.running import say_who_runs_it
from wsss.config.text.location import is_remote

if TYPE_CHECKING:
    from wsss.config import Scheduler, Study
    from wsss.pipeline.outcome import Outcome
    from wsss.pipeline.running import StudyLease
    from wsss.pipeline.search.judging import Judge
    from wsss.report.comparison import Comparison
    from wsss.store.storage import Storage


LocalOption = Annotated[
    bool, typer.Option("--local", help="Run in this process, trial after trial, without Ray.")
]
AddressOption = Annotated[
    str | None,
    typer.Option("--address", help="Ray cluster to join (default: RAY_ADDRESS, else this machine)."),
]


def run(
    study: StudyArgument,
    set_: SetOption = None,
    local: LocalOption = False,
    smoke: SmokeOption = False,
    address: AddressOption = None,
    storage: StorageOption = None,
    name: NameOption = None,
    allow_commands: AllowOption = False,
    always_allow_commands: AlwaysOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run a study; what exists already is not computed again.

    python launch.py run tune_configs/quickstart.yaml

    python launch.py run study.yaml -s 'sweeps.cam.*.classifier.epochs=1' --local
    """
    found = find(study, set_, storage, name, smoke)
    check_permission(found, allow_commands, always_allow_commands)
    execute(found, local=local, address=address, as_json=as_json)


def resume(
    study: StudyArgument,
    set_: SetOption = None,
    local: LocalOption = False,
    address: AddressOption = None,
    storage: StorageOption = None,
    allow_commands: AllowOption = False,
    always_allow_commands: AlwaysOption = False,
    as_json: JsonOption = False,
) -> None:
    """Go on with a study after a crash, a reboot, Ctrl-C, a lost node or a budget that was used up.

    python launch.py resume quickstart

    python launch.py resume quickstart -s budget.hours=8
    """
    name, location = find_stored(study, storage)
    from wsss.pipeline.past.stored_studies import find_study

    found = find_study(name, location, set_ or ())
    check_permission(found, allow_commands, always_allow_commands)
    execute(found, local=local, address=address, as_json=as_json)


def execute(study: Study, *, local: bool, address: str | None, as_json: bool) -> None:
    """Run a study to its end, show it, and leave the process with its exit code; or say who runs it."""
    warnings.filterwarnings("ignore", module="ray|mlflow|torchvision")
    signal.signal(signal.SIGTERM, _as_interrupt)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:  # not under nohup
        signal.signal(signal.SIGHUP, _as_interrupt)
    from wsss.config.text.location import check_cluster_address
    from wsss.pipeline.past.stored_studies import check_same_content
    from wsss.pipeline.running import Overtaken, StudyLease, current_holder
    from wsss.store.storage import open_storage
    from wsss.tracking import tracking_uri

    if not local:
        check_cluster_address(address)
    storage = open_storage(study.storage)
    storage.check()
    _check_disk(storage.local)
    check_same_content(study, later=True)
    uri = tracking_uri(study.tracking.uri, study.storage)
    with StudyLease(study, storage, _note) as lease:
        holder = lease.acquire()
        if holder is not None:
            say_who_runs_it(study, holder, uri, as_json)
            return
        try:
            outcome = _run(study, storage, lease, uri, local, address, as_json)
        except Overtaken:
            holder = current_holder(study.name, storage)
            say_who_runs_it(study, holder, uri, as_json, overtaken=True)
            sys.exit(0 if holder else 130)
    if outcome.interrupted:
        sys.exit(130)
    if outcome.failed:
        sys.exit(1)


def _run(
    study: Study,
    storage: Storage,
    lease: StudyLease,
    uri: str,
    local: bool,
    address: str | None,
    as_json: bool,
) -> Outcome:
    """Run a study whose lease is held, say what it came to, and return how it ended."""
    from wsss.addresses import shown
    from wsss.cli.live import live_view
    from wsss.cli.preflight import data_changes, preflight_checks
    from wsss.pipeline.chains.holdings import stored_inventory, study_inventory
    from wsss.pipeline.executor import Executor
    from wsss.pipeline.local import LocalExecutor
    from wsss.pipeline.study import StudyRun
    from wsss.tracking import MlflowTracker

    data = open_study_data(study, quiet=as_json)
    inventory = study_inventory(study, data)
    changed = data_changes(stored_inventory(storage, study.name), inventory)
    if changed:
        _say_what_changed(study, changed)
    if is_remote(study.storage) and not (study.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI")):
        _note(f"an object storage holds no MLflow database; this study's is {shown(uri)}")
    with ExitStack() as tracked, ExitStack() as closing:
        executor: Executor
        if local:
            executor = LocalExecutor(storage.store, data)
        else:
            from wsss.tuning.executor import RayExecutor

            executor = distributed = RayExecutor(study, address, data)
            closing.callback(distributed.close)
        tracker = MlflowTracker(uri, storage.study_folder(study.name), storage=storage)
        # What another run has taken over, that one sends.
        tracked.callback(lambda: tracker.close(0) if lease.lost else tracker.close())
        view = live_view(json=as_json)
        closing.callback(view.close)
        run = StudyRun(
            study,
            data,
            executor,
            [view, tracker],
            _judge,
            preflight=lambda: preflight_checks(study, data, uri),
            inventory=inventory,
            lease=lease,
        )
        outcome = run.run()
        closing.close()  # others may have the cluster now
        comparison = _conclude(study, outcome, changed, uri, as_json)
        conclude(study.name, storage, comparison, _write_report(study, quiet=as_json), tracker)
        return outcome


def _conclude(study: Study, outcome: Outcome, changed: list[str], uri: str, as_json: bool) -> Comparison:
    """Print what a study came to, and return the comparison of its arms."""
    from wsss.addresses import shown
    from wsss.cli.comparison.compare import comparison_json, show
    from wsss.report.compare import compare

    comparison = compare(study.storage, [study.name])
    if as_json:
        result = {
            "study": study.name,
            "storage": str(study.storage),
            "tracking": shown(uri),
            "trials": outcome.trials,
            "failed": outcome.failed,
            "stopped": outcome.stopped,
            "computed": outcome.computed,
            "reused": outcome.reused,
            "interrupted": outcome.interrupted,
            "budget": outcome.budget,
            "data_changed": changed,
            "running": None,
            "comparison": comparison_json(comparison),
        }
        print(json.dumps(result, indent=1))
    else:
        show(comparison, "table")
        _say_what_was_done(study, outcome, uri)
    return comparison


def _say_what_was_done(study: Study, outcome: Outcome, uri: str) -> None:
    from wsss.addresses import shown

    if outcome.budget:
        key = outcome.budget_key
        print(f"Stopped: the budget is used up, {outcome.budget}. Nothing finished is lost.")
        print(f"`resume {study.name} -s budget.{key}=MORE` goes on; `budget.{key}=null` lifts the limit.")
    elif outcome.interrupted:
        print(f"Interrupted. Nothing finished is lost: `resume {study.name}` goes on.")
    elif outcome.computed:
        print(f"Computed {outcome.computed} artefacts, found {outcome.reused} in the storage.")
    else:
        print(f"Nothing was computed: all {outcome.reused} artefacts were in the storage.")
    if outcome.stopped:
        print(f"Stopped early: {', '.join(outcome.stopped)}.")
    if outcome.failed:
        print(f"Failed: {', '.join(outcome.failed)}. `resume {study.name}` tries them again.")
    print(f"Storage {study.storage}")
    words = ["wsss", "mlflow", study.name, "--storage", str(study.storage)]
    print(f"MLflow  {shlex.join(words) if uri.startswith('sqlite') else shown(uri)}")


def _write_report(study: Study, *, quiet: bool) -> Path | None:
    """Write the study's page beside its ledger and return it; a page that can't be made ends no run."""
    from wsss.errors import WsssError
    from wsss.report.page import write_page
    from wsss.store.storage import open_storage

    path = open_storage(study.storage).study_folder(study.name) / REPORT
    try:
        page = write_page(study.storage, [study.name], path)
    except (WsssError, OSError) as error:
        _note(f"no report was written: {error}; `report {study.name}` tries again")
        return None
    if not quiet:
        print(f"Report  {page}")
    return page


def _say_what_changed(study: Study, changed: list[str]) -> None:
    _note(f"the data of {study.name} are not those of its last run:")
    for text in changed:
        print(f"  {text}", file=sys.stderr)
    print(
        "What depends on them is computed anew; what was made of the old data stays in the storage, "
        f"and {study.name}'s results are those of the new.",
        file=sys.stderr,
        flush=True,
    )


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr, flush=True)


def _check_disk(folder: Path) -> None:
    from wsss.pipeline.forecasts.preflight import refuse_bad, storage_checks

    refuse_bad(storage_checks(folder, None))


def _judge(scheduler: Scheduler, epochs: int) -> Judge:
    """Return who judges an arm's trials. Ray is imported for its rules when there is something to judge."""
    from wsss.tuning.schedulers import make_judge

    return make_judge(scheduler, epochs)


def _as_interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
