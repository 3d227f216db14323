"""Starting or joining a Ray cluster."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import wsss.tuning.environment  # noqa: F401 - first: Ray reads it when imported

import ray  # isort: skip

from wsss.config.text.location import check_cluster_address
from wsss.errors import PreflightError, Problem, WsssError
from wsss.store.objects.storage import ObjectStorage
from wsss.store.storage import Storage
from wsss.temporary import shorten_for_ray
from wsss.tuning.joining.auth import secure_token
from wsss.tuning.joining.reaching import OWN, check_reachable, running_here

OBJECT_STORE_BYTES = 256 * 1024**2
"""Bytes of Ray's object store: only events pass through it, and Ray's default takes 30 % of the memory."""


def connect(address: str | None) -> None:
    """Join the cluster at `address` (or that of RAY_ADDRESS, or the one that runs here), or start one on this
    machine alone, as `local` asks for.

    Raises `PreflightError`, within ten seconds, when the cluster can't be joined; `ConfigError` for an
    address with a secret.
    """
    if ray.is_initialized():
        return
    check_cluster_address(address)
    address = address or os.environ.get("RAY_ADDRESS")
    if not address and (address := running_here()):
        text = f"joining the Ray cluster that runs here, {address}; `--address local` starts one of its own"
        print(f"note: {text}", file=sys.stderr, flush=True)
    if address == OWN:
        address = None
    warnings.filterwarnings("ignore", category=FutureWarning, module="ray")
    try:
        if address:
            check_reachable(address)
        else:
            secure_token()
            shorten_for_ray()
        with _sigterm_kept():
            if address:
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            else:
                ray.init(
                    address="local",
                    num_cpus=os.cpu_count(),
                    object_store_memory=OBJECT_STORE_BYTES,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    _node_ip_address="127.0.0.1",
                )
    except WsssError:
        raise
    except Exception as error:  # Ray raises bare ones, too: of a node that doesn't start in time
        where = address or "this machine"
        hint = "check the address, or leave --address out to run on this machine"
        if not address:
            hint = "its logs are in /tmp/ray/session_latest/logs; --local runs the study without Ray"
        text = " ".join(str(error).split())
        raise PreflightError(Problem(where, f"can't reach or start Ray: {text}", hint)) from error


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Restore the process's own handler of SIGTERM, if it has one: Ray's ends the process with a dump."""
    answer = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(answer) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, answer)


def ray_folder(storage: Storage, study: str) -> str:
    """Return the folder of Ray's own experiment state; wsss never reads it."""
    if isinstance(storage, ObjectStorage):
        address, mark, query = storage.objects.uri.partition("?")
        return f"{address}/ray/{study}{mark}{query}"
    return str(storage.local / "ray" / study)


def clear_ray_folder(storage: Storage, study: str, run: str) -> None:
    """Delete what an earlier run of that name left there."""
    if isinstance(storage, ObjectStorage):
        storage.objects.delete(*(one.name for one in storage.objects.below(f"ray/{study}/{run}")))
    shutil.rmtree(storage.local / "ray" / study / run, ignore_errors=True)
