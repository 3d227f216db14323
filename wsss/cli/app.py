"""The verbs, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from wsss import __version__
from wsss.cli import data, label, plan, predict, report, run, schema, studies
from wsss.cli.comparison import compare
from wsss.cli.machines import cluster, doctor
from wsss.cli.records import mlflow, storage, sync

app = typer.Typer(
    name="wsss",
    help="Run, resume and compare experiments in weakly-supervised semantic segmentation.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.run)
app.command("plan")(plan.plan)
app.command("resume")(run.resume)
app.command("compare")(compare.compare)
app.command("report")(report.report)
app.command("sync")(sync.sync)
app.command("predict")(predict.predict)
app.command("label")(label.label)
app.command("mlflow")(mlflow.mlflow)
app.add_typer(studies.app, name="studies")
app.add_typer(data.app, name="data")
app.add_typer(storage.app, name="storage")
app.add_typer(cluster.app, name="cluster")
app.command("doctor")(doctor.doctor)
app.command("schema")(schema.schema)


def _version(asked: bool) -> None:
    if asked:
        print(f"wsss {__version__}")
        raise typer.Exit


@app.callback()
def _about(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """What every verb has: nothing but the version."""
