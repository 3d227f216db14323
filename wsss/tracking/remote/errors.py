"""What goes wrong on the way to MLflow: what passes, what does not, and in which words it is said."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from wsss.addresses import scrub


def quiet_mlflow() -> None:
    """Keep MLflow from reporting usage, and from printing tracebacks beside the errors that it raises."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # would send a creation twice
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # A connection that is kept would go on writing to a database that was set aside or deleted.
    os.environ.setdefault("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
    import mlflow  # noqa: F401, because it sets levels itself

    for name in ("mlflow", "alembic", "sqlalchemy"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def is_permanent(error: BaseException) -> bool:
    """Tell whether trying again can't help: the server understood and refused.

    MLflow calls BAD_REQUEST what something on the way to the server answered: that may pass.
    """
    code: Any = getattr(error, "error_code", "")
    refused = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS")
    too_large = getattr(getattr(error, "response", None), "status_code", None) == 413
    return code in refused or too_large or isinstance(error, KeyError | TypeError | ValueError)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, without secrets."""
    return scrub((str(error).splitlines() or [type(error).__name__])[0])[:200]


def describe(operation: Mapping[str, Any]) -> str:
    """Name an operation for people."""
    return f"`{operation['op']}` of {operation.get('run') or operation.get('name') or operation['study']}"
