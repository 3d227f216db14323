"""Reaching a cluster's dashboard, which takes jobs: within ten seconds, or with one message."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from http import HTTPStatus
from urllib.parse import urlsplit

import wsss.tuning.environment  # noqa: F401 - first: Ray reads it when imported
from wsss.config.text.location import check_cluster_address

from ray._private.authentication.http_token_authentication import (  # isort: skip
    get_auth_headers_if_auth_enabled,
)

from wsss.errors import ConfigError, PreflightError, Problem, quoted
from wsss.tuning.joining.reaching import ANSWER_SECONDS, check_token, wrong_token

TUNNEL = "is the cluster up, and `ray dashboard cluster.yaml` running?"
MOST_BYTES = 65_536
"""Of the answer in which Ray names its version."""
EXPECTED = "write http://HOST:8265"


def dashboard_address(given: str) -> str:
    """Return the address of a dashboard with its scheme. Raises `ConfigError` for what is none.

    Ray takes HOST:PORT for the head, and tries for most of a minute to reach one there.
    """
    check_cluster_address(given)
    address = given if "://" in given else f"http://{given}"
    try:
        parts = urlsplit(address)
        fits = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and given != "auto"
    except ValueError:
        fits = False
    if not fits or any(not one.isprintable() or one.isspace() for one in given):
        raise ConfigError(
            Problem("--address", f"is {quoted(given)}, but must be a dashboard's address", EXPECTED)
        )
    return address.rstrip("/")


def check_dashboard(address: str) -> None:
    """Raise `PreflightError` within ten seconds unless a dashboard answers at `address`, which begins with
    http:// or https://, and takes the token."""
    check_token(address)
    try:
        status = ask(address)
    except (http.client.HTTPException, ConnectionResetError) as error:
        hint = "the dashboard listens at port 8265, not at Ray's own 6379"
        raise PreflightError(Problem(address, "what listens there is no dashboard of Ray", hint)) from error
    except (OSError, ValueError) as error:
        raise PreflightError(Problem(address, f"did not take the job: {error}", TUNNEL)) from error
    if status in (401, 403):
        raise PreflightError(wrong_token(address, "the cluster refuses the token, or asks for one"))


def ask(address: str) -> int:
    """Return the status with which a dashboard answers.

    Raises `OSError` if none does within `ANSWER_SECONDS`, and `HTTPException` if it is none of Ray's.
    """
    parts = urlsplit(address)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=ANSWER_SECONDS)
    deadline = time.monotonic() + ANSWER_SECONDS
    # A timeout is that of each wait for bytes: a server may send one now and then, for ever.
    hang_up = threading.Timer(ANSWER_SECONDS, _hang_up, [connection])
    hang_up.start()
    try:
        headers = get_auth_headers_if_auth_enabled({})
        connection.request("GET", f"{parts.path.rstrip('/')}/api/version", headers=headers)
        response = connection.getresponse()
        said = response.read(MOST_BYTES) if response.status == HTTPStatus.OK else b""
    finally:
        hang_up.cancel()
        connection.close()
        if time.monotonic() > deadline:
            raise TimeoutError("timed out")
    if response.status == HTTPStatus.OK and not _is_rays(said):
        raise http.client.HTTPException("it is no dashboard")
    return response.status


def _hang_up(connection: http.client.HTTPConnection) -> None:
    with contextlib.suppress(OSError, AttributeError):
        connection.sock.shutdown(socket.SHUT_RDWR)


def _is_rays(said: bytes) -> bool:
    """Whether an answer is what Ray says of its version."""
    try:
        value = json.loads(said)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and "ray_version" in value
