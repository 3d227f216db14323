"""Whether the tracking server answers, without asking MLflow, whose import takes seconds."""

from __future__ import annotations

import socket
from typing import Literal
from urllib.parse import urlsplit

from wsss.tracking.location import database_file

PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}


def reach(uri: str, *, timeout: float = 3.0) -> tuple[Literal["ok", "note"], str]:
    """Return whether something listens at a tracking URI, and what to say of it.

    A server that is away is no reason not to start: everything is written down and sent later.
    """
    file = database_file(uri)
    if file is not None:
        return "ok", f"the file {file.absolute()}"
    scheme = uri.partition(":")[0].partition("+")[0]
    parts = urlsplit(uri)
    port = parts.port or PORTS.get(scheme)
    shown = f"{scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}"
    if not parts.hostname or port is None:
        return "note", f"{shown} can't be looked at beforehand"
    try:
        with socket.create_connection((parts.hostname, port), timeout=timeout):
            return "ok", f"{shown} answers"
    except OSError as error:
        reason = error.strerror or str(error)
        return "note", f"{shown} is away ({reason}): everything is written down and sent later"
