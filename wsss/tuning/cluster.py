"""Starting or joining a Ray cluster, and refusing what it could never run."""

from __future__ import annotations

import logging
import os
import shutil
import warnings
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # our own table says more
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray

from wsss.config import Resources
from wsss.errors import PreflightError, Problem
from wsss.pipeline.storage import RemoteStorage, Storage

OBJECT_STORE_BYTES = 256 * 1024**2
"""Events are all that goes through Ray; the default of 30 % of memory would be waste."""


def connect(address: str | None) -> None:
    """Join the cluster at `address` (or that of RAY_ADDRESS), or start one on this machine alone.

    Raises `PreflightError` when the cluster can't be reached.
    """
    if ray.is_initialized():
        return
    address = address or os.environ.get("RAY_ADDRESS")
    warnings.filterwarnings("ignore", category=FutureWarning, module="ray")
    try:
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
    except (ConnectionError, TimeoutError, RuntimeError, ValueError) as error:
        where = address or "this machine"
        hint = "check the address, or leave --address out to run on this machine"
        raise PreflightError(Problem(where, f"can't reach or start Ray: {error}", hint)) from error


def check_cluster(resources: Sequence[Resources]) -> None:
    """Refuse trials that no node of the cluster could ever hold. Raises `PreflightError`.

    Ray itself would only warn, once a minute, for ever.
    """
    list_nodes: Any = ray.nodes
    nodes = [node["Resources"] for node in list_nodes() if node["Alive"]]
    have = "; ".join(f"{node.get('CPU', 0):g} CPU, {node.get('GPU', 0):g} GPU" for node in nodes)
    problems = []
    for wanted in dict.fromkeys(resources):
        if not any(node.get("CPU", 0) >= wanted.cpu and node.get("GPU", 0) >= wanted.gpu for node in nodes):
            message = f"a trial asks for {wanted.cpu} CPU and {wanted.gpu:g} GPU, but the nodes have: {have}"
            hint = "give less, for example `-s sweeps.NAME.resources.gpu=0`"
            problems.append(Problem("resources", message, hint))
    if problems:
        raise PreflightError(problems, title="the cluster can't run the study")


def ray_folder(storage: Storage, study: str) -> str:
    """Where Ray keeps its own experiment state; nothing of ours depends on it."""
    if isinstance(storage, RemoteStorage):
        address, mark, query = storage.objects.uri.partition("?")
        return f"{address}/ray/{study}{mark}{query}"
    return str(storage.local / "ray" / study)


def clear_ray_folder(storage: Storage, study: str, run: str) -> None:
    """Delete what an earlier run of that name left there."""
    if isinstance(storage, RemoteStorage):
        storage.objects.delete(*(one.name for one in storage.objects.below(f"ray/{study}/{run}")))
    shutil.rmtree(storage.local / "ray" / study / run, ignore_errors=True)
