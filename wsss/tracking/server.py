"""MLflow's own pages of a storage's runs, served on this machine alone."""

from __future__ import annotations

import socket
import sys

from wsss.addresses import shown
from wsss.errors import Problem, TrackingError, first_line
from wsss.tracking.database import is_usable
from wsss.tracking.location import runs_page

HOST = "127.0.0.1"
ENVIRONMENT = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
"""Jobs of MLflow's own are eight more processes and 2 GB; nothing here uses them."""


def server_command(uri: str, port: int) -> list[str]:
    """Return the command that serves an MLflow database to this machine's browsers.

    Args:
        uri: an sqlite file that MLflow can open.
        port: a free port.

    Raises `TrackingError` without such a file, or where the port is taken.
    """
    if not is_usable(uri):
        raise TrackingError(Problem(shown(uri), "holds no runs that MLflow can open", "`sync` makes it anew"))
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            hint = "give --port with another number; a server of an earlier call may still run"
            raise TrackingError(Problem("--port", f"{port} can't be used: {error.strerror}", hint)) from error
    module = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    return [*module, "--host", HOST, "--port", str(port), "--workers", "1"]


def page(uri: str, study: str, server: str) -> str:
    """Return the address of a study's table of runs.

    Args:
        uri: where the runs are: the database behind the server, or the server itself.
        study: its name, which its experiment has too.
        server: what a browser opens, as `http://127.0.0.1:5000`.

    MLflow opens an experiment on an empty page unless the address names its runs. Raises `TrackingError`
    when MLflow has no such experiment, or does not answer.
    """
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        found = MlflowClient(tracking_uri=uri).get_experiment_by_name(study)
    except MlflowException as error:
        message = f"can't be asked for {study}: {first_line(error)}"
        raise TrackingError(Problem(shown(uri), message)) from error
    if found is None:
        raise TrackingError(
            Problem(study, f"is no experiment in {shown(uri)}", f"`sync {study}` brings it there")
        )
    return runs_page(server, str(found.experiment_id))
