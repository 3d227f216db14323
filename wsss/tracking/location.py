"""Which MLflow a study talks to."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote, urlsplit

from wsss.addresses import DATABASES, refusal, scheme_of, shown
from wsss.config.text.location import Location, absolute_sqlite, is_remote, own_database
from wsss.errors import Problem, TrackingError, nearest

VARIABLE = "MLFLOW_TRACKING_URI"
ARTIFACTS = "mlartifacts"
SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks", "azureml")


def default_folder(storage: Location) -> Path:
    """Return the folder of the sqlite file that is used when nothing else is asked for.

    An object storage can't hold a database: `runs` in the current folder does then.
    """
    return Path("runs").resolve() if is_remote(storage) else Path(storage)


def database_file(uri: str) -> Path | None:
    """Return the file of an sqlite URI, relative to the working folder if it is written so; None for
    anything else."""
    scheme, _, rest = uri.partition("://")
    if scheme.partition("+")[0] != "sqlite":
        return None
    return Path(rest.partition("?")[0].removeprefix("/"))


def runs_page(server: str, experiment: str) -> str:
    """Return the address of an experiment's table of runs; without its end MLflow opens an empty page.

    Examples:
        >>> runs_page("http://127.0.0.1:5000/", "3")
        'http://127.0.0.1:5000/#/experiments/3/runs?workflowType=machine_learning'
    """
    return f"{server.rstrip('/')}/#/experiments/{quote(experiment)}/runs?workflowType=machine_learning"


def tracking_uri(configured: str | None, storage: Location) -> str:
    """Return the study's URI, else MLFLOW_TRACKING_URI, else an sqlite file in `default_folder`; a file is
    absolute, as the working folder may change.

    Of a database, MLFLOW_TRACKING_URI may hold the password: print it with `shown`, and write it nowhere.
    Raises `TrackingError` for any other address with a secret, and for what MLflow could never talk to, a
    folder of files among it.
    """
    database = own_database(default_folder(storage))
    uri = configured or os.environ.get(VARIABLE) or database
    where = "tracking.uri" if configured else VARIABLE
    refused = refusal(uri)
    if refused and (configured or scheme_of(uri) not in DATABASES):
        raise TrackingError(Problem(where, *refused))
    scheme, _, rest = uri.partition("://")
    scheme, written = scheme.partition("+")[0], shown(uri)
    hint = f"use {database} or the address of a server"
    if uri.startswith("file:") or "://" not in uri:
        message = f"is {written!r}, but MLflow no longer writes to folders"
    elif scheme not in SCHEMES:
        message, hint = f"is {written!r}, but MLflow knows no {scheme!r}", nearest(scheme, SCHEMES)
    elif scheme == "sqlite" and not rest.startswith("/"):
        message = f"is {written!r}, but sqlite takes three slashes before a file"
    elif scheme == "sqlite" and rest.partition("?")[0] in ("/", "/:memory:"):
        message = f"is {written!r}, but names no file: runs would be lost with the process"
    elif scheme in ("http", "https") and not _names_a_server(uri):
        message = f"is {written!r}, but names no server"
    elif not _is_address(uri):
        message = f"is {written!r}, which is no address"
    else:
        return absolute_sqlite(uri) or uri
    raise TrackingError(Problem(where, message, hint))


def _is_address(uri: str) -> bool:
    try:
        urlsplit(uri)
    except ValueError:  # brackets that don't close
        return False
    return True


def _names_a_server(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # no port, or brackets that don't close
        return False
