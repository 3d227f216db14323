"""The verbs, put together."""

from __future__ import annotations

import typer

from wsss.cli import cluster, data, doctor, plan, predict, run, schema, storage, sync
from wsss.cli.comparison import compare

app = typer.Typer(
    name="wsss",
    help="Run, resume and compare experiments in weakly-supervised semantic segmentation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.run)
app.command("plan")(plan.plan)
app.command("resume")(run.resume)
app.command("compare")(compare.compare)
app.command("sync")(sync.sync)
app.command("predict")(predict.predict)
app.add_typer(data.app, name="data")
app.add_typer(storage.app, name="storage")
app.add_typer(cluster.app, name="cluster")
app.command("doctor")(doctor.doctor)
app.command("schema")(schema.schema)
