"""Which MLflow a study talks to."""

from __future__ import annotations

import os
from pathlib import Path

from wsss.errors import Problem, TrackingError, nearest

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks", "azureml")


def tracking_uri(configured: str | None, storage: Path) -> str:
    """Return the study's URI, else MLFLOW_TRACKING_URI, else an sqlite file in the storage.

    Raises `TrackingError` for what MLflow could never talk to, a folder of files among it.
    """
    uri = configured or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{storage / DATABASE}"
    scheme, _, rest = uri.partition("://")
    scheme = scheme.partition("+")[0]
    hint = f"use sqlite:///{storage / DATABASE} or the address of a server"
    if uri.startswith("file:") or "://" not in uri:
        message = f"is {uri!r}, but MLflow no longer writes to folders"
    elif scheme not in SCHEMES:
        message, hint = f"is {uri!r}, but MLflow knows no {scheme!r}", nearest(scheme, SCHEMES)
    elif scheme == "sqlite" and not rest.startswith("/"):
        message = f"is {uri!r}, but sqlite takes three slashes before a file"
    elif scheme in ("http", "https") and rest[:1] in ("", "/", ":"):
        message = f"is {uri!r}, but names no server"
    else:
        return uri
    raise TrackingError(Problem("tracking.uri", message, hint))
