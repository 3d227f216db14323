"""What one node of a Ray cluster has, reported by a task that runs there: code, storage, files, programs."""

from __future__ import annotations

import importlib.metadata
import platform
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import wsss
from wsss.config import DataSpec
from wsss.config.text.location import is_remote
from wsss.data.view import open_data
from wsss.errors import WsssError
from wsss.files import files_below, sha256_file, sha256_json, write_atomic
from wsss.pipeline.forecasts.shared_memory import free_shared_memory
from wsss.stages.programs.readiness import Needs, look
from wsss.store.storage import open_storage
from wsss.tuning.nodes.placement import TIMEOUT

Drawn = tuple[dict[str, Any], str]
"""(the `data` of a study on the sample set as JSON, the driver's own folder of it)"""


@dataclass(frozen=True)
class Asked:
    """What every node looks at: files, foreign programs, whose interpreters it starts or not, and the sample
    set that it draws first, if there is one to draw."""

    files: tuple[str, ...]
    programs: tuple[Needs, ...] = ()
    start: bool = False
    drawn: Drawn | None = None


Answers = dict[str, dict[str, Any] | str]
"""Address of a node → what the task found there, or why it returned nothing."""


def ask_nodes(nodes: Sequence[dict[str, Any]], folder: str, asked: Asked) -> Answers:
    """Run the task on every node.

    Args:
        nodes: Ray's descriptions of them.
        folder: with the driver's marker; or the address of an object storage.
        asked: what to look at.
    """
    task: Any = ray.remote(num_cpus=0, max_retries=0)(look_from_node)
    sent: dict[str, Any] = {}
    for number, node in enumerate(nodes):
        strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        pinned = task.options(scheduling_strategy=strategy)
        label = node["NodeManagerAddress"]
        label = f"{label} ({node['NodeID'][:6]})" if label in sent else label
        sent[label] = pinned.remote(folder, f"node-{number}", asked)
    ready, _ = ray.wait(list(sent.values()), num_returns=len(sent), timeout=TIMEOUT)
    found: Answers = {}
    for number, (label, reference) in enumerate(sent.items()):
        if reference not in ready:
            ray.cancel(reference, force=True)
            found[label] = f"did not answer within {TIMEOUT:.0f} s"
            continue
        try:
            answer: dict[str, Any] = ray.get(reference)
            answer["back"] = is_remote(folder) or _digest(Path(folder) / f"node-{number}") is not None
            found[label] = answer
        except Exception as error:  # whatever is wrong with that node
            found[label] = str(error).strip().splitlines()[-1]
    return found


def describe_node(files: Sequence[Path]) -> dict[str, Any]:
    """Return the versions of this process and the SHA-256 of each file (None where it can't be read).

    Builds of torch for other devices ("+cpu", "+cu126") and patches of Python count as the same.
    """
    package = Path(wsss.__file__).parent
    code = {name: sha256_file(package / name) for name in files_below(package) if name.endswith(".py")}
    return {
        "wsss": wsss.__version__,
        "code": sha256_json(code)[:12],
        "python": ".".join(platform.python_version_tuple()[:2]),
        "ray": ray.__version__,
        "torch": importlib.metadata.version("torch").split("+")[0],
        "files": [_digest(path) for path in files],
        "shared_memory": free_shared_memory(),
    }


def _digest(path: Path) -> str | None:
    try:
        return sha256_file(path)
    except OSError:
        return None


def look_from_node(folder: str, name: str, asked: Asked) -> dict[str, Any]:
    """Describe this node and its foreign programs, read the driver's marker, write one; every node runs
    this."""
    look_at = _look_at_objects if is_remote(folder) else _look_at_folder
    found = look_at(folder, name, asked)
    return {**found, "programs": [look(one, start=asked.start) for one in asked.programs]}


def _look_at_folder(folder: str, name: str, asked: Asked) -> dict[str, Any]:
    """Read the driver's marker and write this node's."""
    found = describe_node([Path(file) for file in asked.files])
    place = Path(folder)
    try:
        found["marker"] = (place / "driver").read_text(encoding="utf-8")
    except OSError:
        found["marker"] = None
    try:
        if place.is_dir():  # never make a folder that only this node has
            write_atomic(place / name, socket.gethostname())
    except OSError as error:
        found["refused"] = error.strerror
    return found


def _look_at_objects(uri: str, name: str, asked: Asked) -> dict[str, Any]:
    """Write to and read from an object storage; drawn files are looked for in this node's own cache."""
    files = [Path(file) for file in asked.files]
    try:
        storage = open_storage(uri)
        storage.check()
        if asked.drawn is not None:
            spec, own = asked.drawn
            view = open_data(DataSpec.model_validate(spec), storage=storage.local, verify=False)
            files = [view.dataset.root / file.relative_to(own) for file in files]
    except WsssError as error:
        return {**describe_node(files), "refused": str(error)}
    return describe_node(files)
