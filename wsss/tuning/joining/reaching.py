"""Whether a cluster can be joined from here, found out within seconds.

Ray itself waits for up to a minute, or ends the process, when a cluster can't be reached, refuses the token,
or has no node on this machine.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import psutil

import wsss.tuning.environment  # noqa: F401 - first: Ray reads it when imported

import ray  # isort: skip
from ray._private import services  # isort: skip
from ray._common.utils import get_ray_address_file  # isort: skip
from ray._raylet import Config, GcsClient  # type: ignore[attr-defined]  # compiled  # isort: skip
from ray.exceptions import AuthenticationError  # isort: skip

from wsss.errors import PreflightError, Problem, quoted
from wsss.tuning.joining.auth import MODE, TOKEN, has_token, settle_mode, token_file

OWN = "local"
"""The address that stands for a Ray of this run alone."""
CONNECT_SECONDS, ANSWER_SECONDS = 3.0, 6.0
QUESTION = "/ray.rpc.NodeInfoGcsService/CheckAlive"
"""What any head answers, and what costs it nothing."""


def check_token(where: str) -> None:
    """Let Ray show the token that there is.

    Raises `PreflightError` when Ray has to show one and there is none: Ray would end the process.
    """
    if settle_mode():
        Config.initialize("")
    if os.environ.get(MODE, "").lower() == "token" and not has_token():
        raise PreflightError(wrong_token(where, "no token was found"))


def wrong_token(where: str, message: str) -> Problem:
    """Return the problem of a token that is missing, refused or not shown."""
    mode = os.environ.get(MODE, "")
    if mode and mode.lower() != "token":
        return Problem(
            where, "the cluster asks for a token", f"{MODE} is {quoted(mode)}, so none is shown: unset it"
        )
    source = TOKEN if os.environ.get(TOKEN) else str(token_file())
    hint = f"{source} must hold the cluster's token: copy ~/.ray/auth_token from where `ray up` was run"
    return Problem(where, message, hint)


def running_here() -> str | None:
    """Return the address of the cluster that `ray start` made this machine a node of, if it answers.

    Ray notes the address for the user who started it; one that another user noted does not count, nor does
    the Ray of another run.
    """
    try:
        if os.stat(get_ray_address_file(None)).st_uid != os.getuid():
            return None
        address = services.find_bootstrap_address(None)
    except OSError:
        return None
    return address if address and _takes_connections(address) else None


def check_named(address: str | None, *, here: bool = False) -> None:
    """Check the cluster that `--address`, else RAY_ADDRESS, names, if any: before work that takes long.

    Args:
        address: as given.
        here: whether the one that runs on this machine is meant where none is named.
    """
    if ray.is_initialized():
        return
    named = address or os.environ.get("RAY_ADDRESS") or (running_here() if here else None)
    if named:
        check_reachable(named)


def check_reachable(address: str) -> None:
    """Raise `PreflightError` within ten seconds unless this process can join the cluster at `address`.

    A cluster that asks for no token is shown none: Ray starts no trial where the two sides differ.

    Args:
        address: HOST:PORT of its head; `auto` for the one that runs here, `local` for one of this run alone.
    """
    if address == OWN:
        return
    if "://" in address:
        hint = (
            "a run joins the head at HOST:6379; from elsewhere, `cluster submit --address http://HOST:8265`"
        )
        raise PreflightError(Problem(address, "is not HOST:PORT of the head of a cluster", hint))
    if address == "auto":
        try:
            address = services.canonicalize_bootstrap_address(address, None) or ""
        except (ConnectionError, ValueError) as error:
            hint = "start Ray on it, give --address HOST:PORT, or leave it out to run on this machine alone"
            raise PreflightError(Problem("auto", "no Ray runs on this machine", hint)) from error
    if not _takes_connections(address):
        hint = "is the cluster up, and that HOST:PORT its head (port 6379 with `ray up`)?"
        raise PreflightError(Problem(address, "nothing answers there", hint))
    if _asks_for_token(address):
        check_token(address)
    else:
        _show_no_token(address)
    nodes = _ask_head(address)
    if not _is_here(nodes):
        hint = "start on one of them, or use `cluster submit --verb VERB` with the dashboard's address"
        shown = ", ".join(sorted(nodes)[:4]) or "none"
        raise PreflightError(
            Problem(address, f"this machine is no node of that cluster (its nodes: {shown})", hint)
        )


def _asks_for_token(address: str) -> bool:
    """Whether the head at `address` refuses a question that comes without a token.

    Ray's own client can't be asked: it remembers the first mode that it was used in.
    """
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            channel.unary_unary(QUESTION)(b"", timeout=CONNECT_SECONDS)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                return True
            raise PreflightError(_no_cluster(address)) from error
    return False


def _show_no_token(address: str) -> None:
    """Set RAY_AUTH_MODE to "disabled" for this process and its children, unless it asks for the contrary."""
    if os.environ.get(MODE, "").lower() == "token":
        hint = f"unset {MODE}, which demands one, or start the cluster with it"
        raise PreflightError(Problem(address, "the cluster asks for no token", hint))
    os.environ[MODE] = "disabled"
    Config.initialize("")


def _no_cluster(address: str) -> Problem:
    hint = "is it the head of a Ray cluster, of version " + ray.__version__ + "?"
    return Problem(address, "what listens there does not answer as a Ray cluster", hint)


def _takes_connections(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError):
        return False
    return True


def _ask_head(address: str) -> list[str]:
    """Return the addresses of the cluster's nodes that are alive."""
    found: list[str] = []
    failed: list[Exception] = []

    def ask() -> None:
        try:
            client: Any = GcsClient(address=address)
            every = client.get_all_node_info(timeout=ANSWER_SECONDS)
            found.extend(node.node_manager_address for node in every.values() if node.state == 0)
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=ask, name="ask-head", daemon=True)
    with _quiet():
        thread.start()
        thread.join(ANSWER_SECONDS)
    if failed and isinstance(failed[0], AuthenticationError):
        raise PreflightError(wrong_token(address, "the cluster refuses the token, or asks for one"))
    if thread.is_alive() or failed:
        raise PreflightError(_no_cluster(address))
    return found


def _is_here(nodes: Sequence[str]) -> bool:
    own = {one.address for found in psutil.net_if_addrs().values() for one in found}
    return any(node in own for node in nodes)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Drop what Ray's C++ half writes to standard error: the message that follows says it in one line."""
    kept = os.dup(2)
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)
