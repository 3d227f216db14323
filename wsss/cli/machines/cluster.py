"""`cluster check` and `cluster submit`."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wsss.cli.console import out
from wsss.cli.machines import scripts
from wsss.cli.options import (
    AllowOption,
    JsonOption,
    NameOption,
    SetOption,
    SmokeOption,
    StorageOption,
    StudyArgument,
)
from wsss.launch.finding import find, open_study_data, storage_location
from wsss.launch.permission import check_permission
from wsss.launch.words import checks_table

if TYPE_CHECKING:
    from wsss.config import Study
    from wsss.data.view import DataView
    from wsss.pipeline.check import Check

app = typer.Typer(help="Look at a Ray cluster, and send studies to it.", no_args_is_help=True)
app.command("slurm")(scripts.slurm)
app.command("kuberay")(scripts.kuberay)
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        help="Ray cluster to look at, or `local` (default: RAY_ADDRESS, else the one here).",
    ),
]


@app.command("check")
def check(
    study: StudyArgument,
    set_: SetOption = None,
    smoke: SmokeOption = False,
    address: AddressOption = None,
    storage: StorageOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look whether a study could run: every node's code, data and storage, places for its trials, disk,
    tracking. Start none of it; exit with 3 if something is bad. `run` looks at the same.

    python launch.py cluster check tune_configs/voc.yaml --address auto --storage /shared/runs
    """
    from wsss.config.text.location import check_cluster_address
    from wsss.tracking import tracking_uri
    from wsss.tuning.joining.reaching import check_named

    check_cluster_address(address)
    found = find(study, set_, storage, name, smoke)
    check_named(address, here=True)
    data = open_study_data(found, quiet=as_json)
    checks = look(found, data, tracking_uri(found.tracking.uri, found.storage), address)
    if as_json:
        print(json.dumps([dataclasses.asdict(one) for one in checks], indent=1))
    else:
        out().print(checks_table(checks))
    if any(one.state == "bad" for one in checks):
        sys.exit(3)


def look(study: Study, data: DataView, uri: str, address: str | None) -> list[Check]:
    """Return what `run` would look at before its first trial, on a cluster."""
    from wsss.launch.preflight import preflight_checks, study_checks

    own = [*study_checks(study, data), *preflight_checks(study, data, uri)]
    return [*own, *look_at_nodes(study, data, address)]


def look_at_nodes(study: Study, data: DataView, address: str | None) -> list[Check]:
    """Return what `run` would look at on the nodes of a cluster."""
    from wsss.tuning.executor import RayExecutor

    executor = RayExecutor(study, address, data, start=False)  # nobody was asked whether it may
    try:
        return executor.preflight([sweep.resources for sweep in study.sweeps])
    finally:
        executor.close()


@app.command("submit")
def submit(
    study: StudyArgument,
    address: Annotated[
        str, typer.Option("--address", help="The cluster's dashboard, http://HOST:8265.")
    ] = "http://localhost:8265",
    set_: SetOption = None,
    smoke: SmokeOption = False,
    storage: StorageOption = None,
    name: NameOption = None,
    working_dir: Annotated[
        Path, typer.Option("--working-dir", help="Folder that goes to the cluster, less .rayignore.")
    ] = Path("."),
    allow_commands: AllowOption = False,
    verb: Annotated[
        str | None,
        typer.Option("--verb", help="What to do: run (default), plan, check, compare, resume, report, sync."),
    ] = None,
    follow: Annotated[
        bool | None,
        typer.Option(
            "--follow/--no-follow",
            help="Print the job's output until it ends, and exit as it does (default with --verb).",
        ),
    ] = None,
) -> None:
    """Send a study and this folder's code to a cluster as a Ray job, which goes on when you leave.

    The study is checked here first. Paths are the cluster's: --storage (or the study's `storage`) and
    `data.root` must be absolute and shared by all nodes.

    python launch.py cluster submit tune_configs/voc.yaml -s data.root=/shared/VOC2012 --storage /shared/runs

    python launch.py cluster submit voc --verb compare --storage /shared/runs
    """
    from wsss.errors import ConfigError, Problem, nearest
    from wsss.tuning.joining.dashboard import dashboard_address
    from wsss.tuning.joining.following import follow_job
    from wsss.tuning.submit import Verb, plan_job, submit_job

    if verb is not None and verb not in tuple(Verb):
        raise ConfigError(
            Problem("--verb", f"is {verb!r}, which no job does", nearest(verb, [one.value for one in Verb]))
        )

    storage_location(storage)
    address = dashboard_address(address)
    job = plan_job(
        study,
        verb=Verb(verb or "run"),
        overrides=set_ or [],
        smoke=smoke,
        storage=storage,
        name=name,
        working_dir=working_dir,
        allow_commands=allow_commands,
    )
    if job.study is not None:
        check_permission(job.study, allow_commands)
    number = submit_job(job, address)
    follow = verb is not None if follow is None else follow
    print(f"Submitted {number}: {job.entrypoint}", file=sys.stderr if follow else sys.stdout, flush=True)
    for variable in job.kept_back:
        print(f"note: {variable} holds a secret and stays here: set it on the head node", file=sys.stderr)
    if follow:
        sys.exit(follow_job(number, address))
    print(f"  ray job logs {number} --address {address} --follow")
    print(f"  ray job stop {number} --address {address}      # resumable: submit it again to go on")
