"""Whether some node of a Ray cluster has room for a trial: a running one, or one that may be started."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import yaml
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from wsss.config import Resources
from wsss.errors import nearest
from wsss.pipeline.check import Check
from wsss.pipeline.forecasts.preflight import sharing_check

HEAD = "node:__internal_head__"
"""The resource by which Ray marks the head node."""
AUTOSCALER_FILE = "~/ray_bootstrap_config.yaml"
TIMEOUT = 120.0
"""Seconds that a node has to answer."""


@dataclass(frozen=True)
class Launched:
    """What `ray up` was asked for: the resources of each kind of node that the autoscaler may start, and the
    addresses of the machines that the cluster file lists."""

    startable: tuple[dict[str, float], ...] = ()
    listed: tuple[str, ...] = ()


def launched(nodes: Sequence[dict[str, Any]]) -> Launched:
    """Return what the file says that `ray up` leaves on the head node; a task there reads it.

    If the head does not answer, there is nothing; the checks of all nodes report what is wrong with it.
    """
    head = next((node for node in nodes if HEAD in node["Resources"]), None)
    if head is None:
        return Launched()
    task: Any = ray.remote(num_cpus=0, max_retries=0)(read_launched)
    strategy = NodeAffinitySchedulingStrategy(head["NodeID"], soft=False)
    reference = task.options(scheduling_strategy=strategy).remote()
    try:
        found: Launched = ray.get(reference, timeout=TIMEOUT)
    except Exception:  # whatever is wrong with that node
        ray.cancel(reference, force=True)
        return Launched()
    if head["NodeManagerAddress"] not in found.listed:  # the file of another cluster
        return Launched(found.startable)
    return found


def read_launched() -> Launched:
    """Read the autoscaler's file; the head node runs this."""
    try:
        config = yaml.safe_load(Path(AUTOSCALER_FILE).expanduser().read_text(encoding="utf-8"))
        head = config.get("head_node_type")
        most = config.get("max_workers", 0)
        startable = tuple(
            {name: float(count) for name, count in (kind.get("resources") or {}).items()}
            for name, kind in (config.get("available_node_types") or {}).items()
            if kind.get("max_workers", 0 if name == head else most) > 0
        )
        provider = config.get("provider") or {}
        named = [provider["head_ip"], *provider["worker_ips"]] if provider.get("type") == "local" else []
        return Launched(startable, tuple(_address(str(name)) for name in named))
    except (
        OSError,
        ValueError,
        TypeError,
        AttributeError,
        KeyError,
        yaml.YAMLError,
    ):  # none, or not one of Ray's
        return Launched()


def _address(name: str) -> str:
    try:
        return socket.gethostbyname(name)
    except OSError:
        return name


def nodes_check(nodes: Sequence[dict[str, Any]], listed: Sequence[str] = ()) -> Check:
    """Say how many nodes there are, with what, and which that the cluster file lists are missing."""
    cpus, gpus = (sum(node["Resources"].get(kind, 0) for node in nodes) for kind in ("CPU", "GPU"))
    there = {node["NodeManagerAddress"] for node in nodes}
    missing = [address for address in listed if address not in there]
    if not missing:
        return Check("nodes", "ok", f"{len(nodes)} with {cpus:g} CPU and {gpus:g} GPU in all")
    text = (
        f"{len(listed) - len(missing)} of {len(listed)} that the cluster file lists, with {cpus:g} CPU and "
        f"{gpus:g} GPU; {', '.join(missing)} has not joined, or has left. Why: "
        "ray exec cluster.yaml 'tail -n 50 /tmp/ray/session_latest/logs/monitor*'"
    )
    return Check("nodes", "note", text)


def placement_checks(
    resources: Sequence[Resources],
    nodes: Sequence[dict[str, Any]],
    startable: Sequence[dict[str, float]] = (),
) -> list[Check]:
    """Check that some node has room for a trial of each sweep; Ray itself would wait for ever."""
    there = [node["Resources"] for node in nodes]
    have = "; ".join(f"{node.get('CPU', 0):g} CPU, {node.get('GPU', 0):g} GPU" for node in there)
    checks = []
    for wanted in dict.fromkeys(resources):
        kind = f" of kind {wanted.accelerator}" if wanted.accelerator else ""
        asks = f"a trial asks for {wanted.cpu} CPU and {wanted.gpu:g} GPU{kind}"
        room = sum(_holds(node, wanted) for node in there)
        if room and wanted.gpu and _left_beside(there, wanted) < 1:
            left = "which leaves no CPU for what is scored beside; `resources.cpu` may be less"
            checks.append(Check("placement", "note", f"{asks}: {room} at a time, {left}"))
        elif room:
            checks.append(Check("placement", "ok", f"{asks}: {room} at a time"))
        elif any(_holds(node, wanted) for node in startable):
            checks.append(Check("placement", "note", f"{asks}: no node has them, one will be started"))
        else:
            more = ", nor has any that could be started" if startable else ""
            hint = _hint(wanted, [*there, *startable])
            checks.append(Check("placement", "bad", f"{asks}, but the nodes have: {have}{more}", hint))
    return [*checks, *sharing_check([wanted.gpu for wanted in resources])]


def accelerator_resource(name: str) -> str:
    """Return the resource by which Ray marks the nodes that have a kind of GPU."""
    return f"accelerator_type:{name}"


def _left_beside(nodes: Sequence[dict[str, float]], wanted: Resources) -> float:
    """Return the CPUs that are left while as many trials run as there is room for."""
    return sum(node.get("CPU", 0) - _holds(node, wanted) * wanted.cpu for node in nodes)


def _hint(wanted: Resources, nodes: Sequence[dict[str, float]]) -> str:
    prefix = accelerator_resource("")
    kinds = sorted({name.removeprefix(prefix) for node in nodes for name in node if name.startswith(prefix)})
    if wanted.accelerator and wanted.accelerator not in kinds:
        return nearest(wanted.accelerator, kinds) if kinds else "no node says which kind of GPU it has"
    return "give less, for example `-s sweeps.*.resources.gpu=0`"


def _holds(node: dict[str, float], wanted: Resources) -> int:
    """Return how many trials a node has room for at a time."""
    if wanted.accelerator and not node.get(accelerator_resource(wanted.accelerator)):
        return 0
    room = int(node.get("CPU", 0) / wanted.cpu)
    if 0 < wanted.gpu < 1:  # a trial's share is on one GPU
        return min(room, int(node.get("GPU", 0)) * int(1 / wanted.gpu + 1e-6))
    return min(room, int(node.get("GPU", 0) / wanted.gpu)) if wanted.gpu else room
