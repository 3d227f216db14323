"""`run STUDY` and `resume STUDY`."""

from __future__ import annotations

import json
import os
import shutil
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
    from wsss.config import Study
    from wsss.pipeline.study import Outcome

MINIMUM_FREE = 1024**3

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
    local: LocalOption = False,
    address: AddressOption = None,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go on with a study after a crash, a reboot, Ctrl-C or a lost node.

    python launch.py resume quickstart
    """
    from wsss.pipeline.study import find_study

    found = find(study, None, storage, None, False)
    stored = find_study(found.name, storage_location(storage) if storage else found.storage)
    execute(stored, local=local, address=address, as_json=as_json)


def execute(study: Study, *, local: bool, address: str | None, as_json: bool) -> None:
    """Run a study to its end, show it, and leave the process with its exit code."""
    warnings.filterwarnings("ignore", module="ray|mlflow|torchvision")
    signal.signal(signal.SIGTERM, _as_interrupt)
    from wsss.pipeline.storage import open_storage
    from wsss.pipeline.study import check_same_content

    storage = open_storage(study.storage)
    storage.check()
    _check_disk(storage.local)
    check_same_content(study)
    data = open_study_data(study, quiet=as_json)

    from wsss.cli.live import live_view
    from wsss.pipeline.local import LocalExecutor
    from wsss.pipeline.study import Executor, StudyRun
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

        executor = distributed = RayExecutor(study, address)
        close = distributed.close
    try:
        outcome = StudyRun(study, data, executor, [view, tracker]).run()
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
            "computed": outcome.computed,
            "reused": outcome.reused,
            "interrupted": outcome.interrupted,
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
    if outcome.interrupted:
        print(f"Interrupted. Nothing finished is lost: `resume {study.name}` goes on.")
    elif outcome.computed:
        print(f"Computed {outcome.computed} artefacts, found {outcome.reused} in the storage.")
    else:
        print(f"Nothing was computed: all {outcome.reused} artefacts were in the storage.")
    if outcome.failed:
        print(f"Failed: {', '.join(outcome.failed)}. `resume {study.name}` tries them again.")
    print(f"Storage {study.storage}")
    print(f"MLflow  mlflow ui --backend-store-uri {uri}" if uri.startswith("sqlite") else f"MLflow  {uri}")


def _check_disk(folder: Path) -> None:
    from wsss.errors import PreflightError, Problem

    free = shutil.disk_usage(folder).free
    if free < MINIMUM_FREE:
        message = f"{free / 1024**2:.0f} MiB are free, but a study needs at least 1 GiB"
        raise PreflightError(Problem(str(folder), message, "give --storage FOLDER, or `storage prune`"))


def _as_interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
