"""`run STUDY` and `resume STUDY`."""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsss.cli.options import (
    JsonOption,
    NameOption,
    SetOption,
    SmokeOption,
    StorageOption,
    StudyArgument,
    find,
    open_study_data,
    storage_location,
)
from wsss.config.location import is_remote

if TYPE_CHECKING:
    from wsss.config import Scheduler, Study
    from wsss.pipeline.judging import Judge
    from wsss.pipeline.session import Outcome

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
    as_json: JsonOption = False,
) -> None:
    """Run a study; what exists already is not computed again.

    python launch.py run tune_configs/quickstart.yaml

    python launch.py run study.yaml -s sweeps.cam.fmix.classifier.epochs=1 --local
    """
    execute(find(study, set_, storage, name, smoke), local=local, address=address, as_json=as_json)


def resume(
    study: StudyArgument,
    set_: SetOption = None,
    local: LocalOption = False,
    address: AddressOption = None,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go on with a study after a crash, a reboot, Ctrl-C, a lost node or a budget that was used up.

    python launch.py resume quickstart

    python launch.py resume quickstart -s budget.hours=8
    """
    from wsss.config import load_study_text
    from wsss.pipeline.storage import open_storage
    from wsss.pipeline.stored import find_study

    found = find(study, None, storage, None, False)
    location = storage_location(storage) if storage else found.storage
    stored = find_study(found.name, location)
    if set_:
        place = open_storage(location)
        text = place.study_text(found.name) or ""
        source = f"{place.study_address(found.name)}/study.yaml"
        base = place.study_folder(found.name)
        stored = load_study_text(text, source=source, base=base, overrides=set_)
    execute(stored, local=local, address=address, as_json=as_json)


def execute(study: Study, *, local: bool, address: str | None, as_json: bool) -> None:
    """Run a study to its end, show it, and leave the process with its exit code."""
    warnings.filterwarnings("ignore", module="ray|mlflow|torchvision")
    signal.signal(signal.SIGTERM, _as_interrupt)
    from wsss.pipeline.storage import open_storage
    from wsss.pipeline.stored import check_same_content

    storage = open_storage(study.storage)
    storage.check()
    _check_disk(storage.local)
    check_same_content(study)
    data = open_study_data(study, quiet=as_json)

    from wsss.cli.live import live_view
    from wsss.cli.preflight import ready_checks
    from wsss.pipeline.executor import Executor
    from wsss.pipeline.local import LocalExecutor
    from wsss.pipeline.study import StudyRun
    from wsss.tracking import MlflowTracker, tracking_uri

    uri = tracking_uri(study.tracking.uri, study.storage)
    if is_remote(study.storage) and not (study.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI")):
        print(f"note: an object storage holds no MLflow database; this study's is {uri}", file=sys.stderr)
    tracker = MlflowTracker(uri, storage.study_folder(study.name))
    view = live_view(json=as_json)
    close: Any = None
    executor: Executor
    if local:
        executor = LocalExecutor(storage.store, data)
    else:
        from wsss.tuning.executor import RayExecutor

        executor = distributed = RayExecutor(study, address, data)
        close = distributed.close
    try:
        outcome = StudyRun(
            study,
            data,
            executor,
            [view, tracker],
            _judge,
            ready=lambda: ready_checks(study, data, uri),
        ).run()
    finally:
        view.close()
        tracker.close()
        if close is not None:
            close()
    _conclude(study, outcome, uri, as_json)


def _conclude(study: Study, outcome: Outcome, uri: str, as_json: bool) -> None:
    from wsss.cli.compare import comparison_json, show
    from wsss.report.compare import compare

    comparison = compare(study.storage, [study.name])
    if as_json:
        result = {
            "study": study.name,
            "storage": str(study.storage),
            "tracking": uri,
            "trials": outcome.trials,
            "failed": outcome.failed,
            "stopped": outcome.stopped,
            "computed": outcome.computed,
            "reused": outcome.reused,
            "interrupted": outcome.interrupted,
            "budget": outcome.budget,
            "comparison": comparison_json(comparison),
        }
        print(json.dumps(result, indent=1))
    else:
        show(comparison, "table")
        _say_what_was_done(study, outcome, uri)
    if outcome.interrupted:
        sys.exit(130)
    if outcome.failed:
        sys.exit(1)


def _say_what_was_done(study: Study, outcome: Outcome, uri: str) -> None:
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
    print(f"MLflow  mlflow ui --backend-store-uri {uri}" if uri.startswith("sqlite") else f"MLflow  {uri}")


def _check_disk(folder: Path) -> None:
    from wsss.pipeline.readiness import refuse_bad, storage_checks

    refuse_bad(storage_checks(folder, None))


def _judge(scheduler: Scheduler, epochs: int) -> Judge:
    """Return who judges an arm's trials. Ray is imported for its rules when there is something to judge."""
    from wsss.tuning.schedulers import make_judge

    return make_judge(scheduler, epochs)


def _as_interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
