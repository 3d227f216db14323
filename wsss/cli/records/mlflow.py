"""`mlflow [STUDY]`: the runs in a browser."""

from __future__ import annotations

from typing import Annotated

import typer

from wsss.cli.options import StorageOption
from wsss.launch.finding import find_stored, storage_location


def mlflow(
    study: Annotated[str | None, typer.Argument(help="Name of the study to open (default: all).")] = None,
    storage: StorageOption = None,
    port: Annotated[int, typer.Option(help="Port on this machine.", min=1, max=65535)] = 5000,
) -> None:
    """Show the runs of a storage in MLflow's own pages, on this machine alone, until Ctrl-C.

    Where the study tracks to a server, its address is printed and nothing is started.

    python launch.py mlflow quickstart
    """
    import os

    from wsss.addresses import shown
    from wsss.pipeline.past.stored_studies import find_study
    from wsss.store.storage import open_storage
    from wsss.tracking import tracking_uri
    from wsss.tracking.server import ENVIRONMENT, HOST, page, server_command

    location = storage_location(storage)
    if study is not None:
        study, location = find_stored(study, storage)
        open_storage(location).require(study)
    configured = None if study is None else find_study(study, location).tracking.uri
    uri = tracking_uri(configured, location)
    if not uri.startswith("sqlite"):
        print(page(uri, study, uri) if study and uri.startswith("http") else shown(uri))
        return
    command = server_command(uri, port)
    server = f"http://{HOST}:{port}"
    print(f"MLflow  {page(uri, study, server) if study else server}   (Ctrl-C ends it)", flush=True)
    os.execve(command[0], command, {**os.environ, **ENVIRONMENT})  # noqa: S606, a list, and our own Python
