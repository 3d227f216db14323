"""Where a storage is: a folder, or the address of an object storage."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from wsss.addresses import RAY, refusal, shown
from wsss.config.text.paths import absolute, check_path
from wsss.errors import ConfigError, Problem, nearest, quoted

Location = Path | str
"""An absolute folder, or a URI such as "s3://bucket/prefix"."""
SCHEMES = ("s3", "gs", "az", "abfs", "abfss")


def is_remote(location: Location) -> bool:
    """Whether a storage is an object storage, and not a folder."""
    return isinstance(location, str) and "://" in location


def parse_location(text: str) -> Location:
    """Return the storage that a text names. Raises `ValueError` with "message|hint".

    An address that holds a secret is refused without repeating it.
    """
    if refused := refusal(text):
        raise ValueError("|".join(refused))
    if "://" not in text:
        return absolute(text)
    if message := check_path(text):
        raise ValueError(message)
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise ValueError(f"is {quoted(shown(text))}, which is no address: {error}|") from error
    if parts.scheme == "file":
        return absolute(unquote(parts.path))
    if parts.scheme not in SCHEMES:
        raise ValueError(
            f"is {quoted(text)}, but there is no storage of the kind {quoted(parts.scheme)}"
            f"|{nearest(parts.scheme, (*SCHEMES, 'file'))}"
        )
    if not parts.netloc:
        raise ValueError(f"is {quoted(text)}, but names no bucket|write {parts.scheme}://bucket/prefix")
    path, _, query = text.partition("?")
    return path.rstrip("/") + (f"?{query}" if query else "")


def check_cluster_address(given: str | None) -> None:
    """Raise `ConfigError` if the address of a Ray cluster holds a secret, or is none: `given` as `--address`,
    else RAY_ADDRESS."""
    address, where = (given, "--address") if given else (os.environ.get("RAY_ADDRESS"), "RAY_ADDRESS")
    if given is not None and not given.strip():  # of a variable that isn't set, perhaps
        raise ConfigError(Problem("--address", "is empty", "give HOST:PORT, or leave it out"))
    if not address:
        return
    refused = refusal(address, instead=RAY)
    if refused is None and "@" in address:
        message = f"is '…@{address.rpartition('@')[2]}', but the address of a cluster names no user"
        refused = message, RAY
    if refused is None:
        try:
            urlsplit(address)
        except ValueError as error:  # Ray would try to reach it for half a minute
            refused = f"is {quoted(address)}, which is no address: {error}", "write HOST:PORT"
    if refused is None and (port := re.search(r":(\d+)/?$", address)) and not 1 <= int(port[1][:9]) <= 65535:
        refused = f"is {quoted(address)}, whose port must be from 1 to 65535", "write HOST:PORT"
    if refused:
        raise ConfigError(Problem(where, *refused))


def own_database(folder: Path) -> str:
    """Return the address of the sqlite file in a folder that MLflow writes to when nothing else is asked for.

    Examples:
        >>> own_database(Path("/data/runs"))
        'sqlite:////data/runs/mlflow.db'
    """
    return f"sqlite:///{folder / 'mlflow.db'}"


def absolute_sqlite(uri: str | None) -> str | None:
    """Return an address with a relative file of sqlite made absolute; anything else as it is.

    Examples:
        >>> absolute_sqlite("sqlite:////data/mlflow.db"), absolute_sqlite("https://host")
        ('sqlite:////data/mlflow.db', 'https://host')
    """
    scheme, slashes, rest = (uri or "").partition(":///")
    path, mark, query = rest.partition("?")
    if scheme.partition("+")[0] != "sqlite" or not slashes or not path or path.startswith(("/", ":")):
        return uri
    return f"{scheme}:///{Path(path).absolute()}{mark}{query}"
