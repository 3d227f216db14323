"""What MLflow raises, and the operation that it refused: whether to try again, and what people read of it."""

from __future__ import annotations

from typing import Any

from wsss.tracking.spool import Operation


def is_permanent(error: BaseException) -> bool:
    """Tell whether trying again can't help: the server understood and refused.

    MLflow calls BAD_REQUEST what something on the way to the server answered: that may pass.
    """
    code: Any = getattr(error, "error_code", "")
    refused = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS")
    too_large = getattr(getattr(error, "response", None), "status_code", None) == 413
    return code in refused or too_large or isinstance(error, KeyError | TypeError | ValueError)


def describe(operation: Operation) -> str:
    """Return an operation's name and what it is about, for messages."""
    return f"`{operation['op']}` of {operation.get('run') or operation.get('name') or operation['study']}"
