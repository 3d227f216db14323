"""Which MLflow a study talks to."""

from __future__ import annotations

import os
from pathlib import Path

from wsss.errors import Problem, TrackingError

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"


def tracking_uri(configured: str | None, storage: Path) -> str:
    """Return the study's URI, else MLFLOW_TRACKING_URI, else an sqlite file in the storage.

    Raises `TrackingError` for a folder of files, which MLflow no longer writes.
    """
    uri = configured or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{storage / DATABASE}"
    if uri.startswith("file:") or "://" not in uri:
        hint = f"use sqlite:///{storage / DATABASE} or the address of a server"
        message = f"is {uri!r}, but MLflow no longer writes to folders"
        raise TrackingError(Problem("tracking.uri", message, hint))
    return uri
