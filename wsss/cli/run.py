"""`run STUDY` and `resume STUDY`."""

from __future__ import annotations

import signal
import sys
import warnings
from typing import TYPE_CHECKING, Annotated

import typer

from wsss.cli.options import (
    AllowOption,
    AlwaysOption,
    JsonOption,
    NameOption,
    SetOption,
    SmokeOption,
    StorageOption,
    StudyArgument,
)
from wsss.cli.running.conclusion import conclude
from wsss.cli.running.holder import say_who_runs_it
from wsss.launch.finding import find, find_stored
from wsss.launch.permission import check_permission

if TYPE_CHECKING:
    from wsss.config import Study

LocalOption = Annotated[
    bool, typer.Option("--local", help="Run in this process, trial after trial, without Ray.")
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        help="Ray cluster to join, or `local` (default: RAY_ADDRESS, else the one here).",
    ),
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
    if local and address not in (None, "local"):
        from wsss.errors import ConfigError, Problem

        message = "is a cluster, but --local runs in this process"
        raise ConfigError(Problem("--address", message, "give one of both"))
    warnings.filterwarnings("ignore", module="ray|mlflow|torchvision")
    signal.signal(signal.SIGTERM, _as_interrupt)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:  # not under nohup
        signal.signal(signal.SIGHUP, _as_interrupt)
    if not local:
        # Before all that takes long to import: a cluster that can't be joined is said within seconds.
        from wsss.config.text.location import check_cluster_address
        from wsss.tuning.joining.reaching import check_named

        check_cluster_address(address)
        check_named(address, here=True)
    from wsss.cli.running.job_log import keep_job_log
    from wsss.cli.running.live import LiveTable, live_view
    from wsss.launch.execution import Taken, carry_out

    keep_job_log(study)
    view = live_view(json=as_json)
    watched = isinstance(view, LiveTable)
    ended = carry_out(study, view, local=local, address=address, quiet=as_json, watched=watched)
    if isinstance(ended, Taken):
        say_who_runs_it(study, ended.holder, ended.uri, as_json, overtaken=ended.overtaken)
        sys.exit(130 if ended.overtaken and not ended.holder else 0)
    conclude(study, ended, as_json)


def _as_interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
