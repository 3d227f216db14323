"""Whether the tracking server answers, without asking MLflow, whose import takes seconds."""

from __future__ import annotations

import os
import socket
from typing import Literal
from urllib.parse import urlsplit

from wsss.addresses import HIDDEN, shown
from wsss.tracking.location import database_file

PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}


def reach(uri: str, *, timeout: float = 3.0) -> tuple[Literal["ok", "note"], str]:
    """Return whether something listens at a tracking URI, and what to say of it.

    A server that is away is no reason not to start: everything is written down and sent later.
    """
    file = database_file(uri)
    if file is not None:
        if os.path.exists(file) and not os.path.isfile(file):  # which take any name
            return "note", f"{file.absolute()} is no file: everything is written down, `sync` sends it later"
        return "ok", f"the file {file.absolute()}"
    scheme = uri.partition(":")[0].partition("+")[0]
    written = shown(uri)
    try:
        parts = urlsplit(written)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    where = f"{scheme}://{host or ''}{f':{port}' if port else ''}"
    port = port or PORTS.get(scheme)
    if not host or HIDDEN in host or port is None:
        return "note", f"{where} can't be looked at beforehand"
    try:
        with socket.create_connection((host, port), timeout=timeout):
            return "ok", f"{where} answers"
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return "note", f"{where} is away ({reason}): everything is written down and sent later"
