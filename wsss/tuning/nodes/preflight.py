"""Checks every node of a Ray cluster before a study starts: the same code, the same data, one storage.

Each node runs one small task. It reads a marker that the driver has written to the storage, and writes its
own, which the driver reads. This shows that both see one folder, and not two of the same name.
"""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import socket
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import wsss
from wsss.config import DataSpec, Resources
from wsss.config.text.location import Location, is_remote
from wsss.data.view import DataView, open_data
from wsss.errors import WsssError
from wsss.files import files_below, sha256_file, sha256_json, write_atomic
from wsss.pipeline.forecasts.preflight import Check
from wsss.pipeline.forecasts.programs import program_checks
from wsss.pipeline.forecasts.shared_memory import free_shared_memory, shared_memory_check
from wsss.stages.programs.readiness import Needs, look
from wsss.store.storage import open_storage
from wsss.tuning.nodes.placement import TIMEOUT, launched, nodes_check, placement_checks

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


SAMPLED = 20
SAME = ("wsss", "code", "python", "ray", "torch")
NAMES = {"wsss": "wsss", "code": "wsss's code", "python": "Python", "ray": "Ray", "torch": "torch"}


def cluster_checks(
    resources: Sequence[Resources],
    storage: Location,
    data: DataView | None,
    spec: DataSpec | None = None,
    shared: int = 0,
    programs: Mapping[str, Needs] | None = None,
    *,
    start: bool = False,
) -> list[Check]:
    """Check the cluster that this process is connected to.

    Every node must have the driver's code, its storage and its photos. Some node, or one that the cluster
    may start, must have room for a trial of each sweep.

    Args:
        resources: of the sweeps.
        storage: where every node must find what the driver writes.
        data: the driver's images; None leaves them out.
        spec: the study's `data`.
        shared: bytes that a trial needs in /dev/shm.
        programs: foreign ones of the study, by their places in it.
        start: whether nodes start the programs' interpreters, which the user must have allowed.
    """
    nodes = alive_nodes()
    asked = launched(nodes)
    checks = [nodes_check(nodes, asked.listed), *placement_checks(resources, nodes, asked.startable)]
    return [*checks, *node_checks(nodes, storage, data, spec, shared, programs, start=start)]


def alive_nodes() -> list[dict[str, Any]]:
    """Return Ray's description of every node that is alive."""
    list_nodes: Any = ray.nodes
    return [node for node in list_nodes() if node["Alive"]]


def node_checks(
    nodes: Sequence[dict[str, Any]],
    storage: Location,
    data: DataView | None,
    spec: DataSpec | None = None,
    shared: int = 0,
    programs: Mapping[str, Needs] | None = None,
    *,
    start: bool = False,
) -> list[Check]:
    """Run the task on every node and compare what it found with what the driver has.

    If the study is on the sample set and an object storage, each node first draws the set into its own
    cache, as its trials would.

    Args:
        nodes: Ray's descriptions of them.
        storage: where every node must find what the driver writes.
        data: the driver's images; None leaves them out.
        spec: the study's `data`.
        shared: bytes that a trial needs in /dev/shm.
        programs: foreign ones of the study, by their places in it.
        start: whether nodes start the programs' interpreters.
    """
    files = sampled_files(data) if data is not None else []
    own = describe_node(files)
    asked = Asked(tuple(map(str, files)), programs=tuple((programs or {}).values()), start=start)
    if is_remote(storage):
        if data is not None and spec is not None and spec.root is None:
            asked = replace(asked, drawn=(spec.model_dump(mode="json"), str(data.dataset.root)))
        found = _ask(nodes, str(storage), asked)
        reached = _reach_checks(str(storage), found)
    else:
        storage = Path(storage)
        folder = storage / f".preflight-{uuid.uuid4().hex[:8]}"
        content = uuid.uuid4().hex
        write_atomic(folder / "driver", content)
        try:
            found = _ask(nodes, str(folder), asked)
            reached = _storage_checks(storage, folder, content, found)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return [
        *_same_checks(own, found),
        *_shared_memory_checks(shared, nodes, found),
        *reached,
        *_data_checks(own, found, files),
        *_program_checks(programs or {}, found),
    ]


def sampled_files(data: DataView, count: int = SAMPLED) -> list[Path]:
    """Return the files to compare: all lists, tables of labels and names of classes; the photos,
    annotations and masks of up to `count` images with labels and as many with masks. The choice is always
    the same."""
    photos, found = data.dataset, list(data.dataset.tables())
    labelled = _spread(data.labelled_ids, count)
    masked = _spread(sorted({*data.select, *data.report, *data.test}), count)
    found += [photos.image_path(id) for id in dict.fromkeys([*labelled, *masked])]
    found += [photos.annotation_path(id) for id in labelled]
    found += [photos.mask_path(id) for id in masked if photos.has_mask(id)]
    return list(dict.fromkeys(found))  # a table is the annotation of every image


def _spread(ids: Sequence[str], count: int) -> Sequence[str]:
    return ids[:: max(1, -(-len(ids) // count))]


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
        found["marker"] = (place / "driver").read_text()
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


def _ask(nodes: Sequence[dict[str, Any]], folder: str, asked: Asked) -> dict[str, dict[str, Any] | str]:
    """Return address → what the task found there, or why it returned nothing."""
    task: Any = ray.remote(num_cpus=0, max_retries=0)(look_from_node)
    sent: dict[str, Any] = {}
    for number, node in enumerate(nodes):
        strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        pinned = task.options(scheduling_strategy=strategy)
        label = node["NodeManagerAddress"]
        label = f"{label} ({node['NodeID'][:6]})" if label in sent else label
        sent[label] = pinned.remote(folder, f"node-{number}", asked)
    ready, _ = ray.wait(list(sent.values()), num_returns=len(sent), timeout=TIMEOUT)
    found: dict[str, dict[str, Any] | str] = {}
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


def _same_checks(own: dict[str, Any], found: dict[str, dict[str, Any] | str]) -> list[Check]:
    hint = "install the same on every node (cluster.yaml does), or submit with `cluster submit`"
    checks = [
        Check("node", "bad", f"{label}: {answer}", hint)
        for label, answer in found.items()
        if isinstance(answer, str)
    ]
    differ = [
        Check(NAMES[name], "bad", f"{label} has {answer[name]}, the driver {own[name]}", hint)
        for label, answer in found.items()
        if not isinstance(answer, str)
        for name in SAME
        if answer[name] != own[name]
    ]
    if checks or differ:
        return [*checks, *differ]
    text = ", ".join(f"{NAMES[name]} {own[name]}" for name in SAME)
    return [Check("versions", "ok", f"{text}{' everywhere' if len(found) > 1 else ''}")]


def _shared_memory_checks(
    needed: int, nodes: Sequence[dict[str, Any]], found: dict[str, dict[str, Any] | str]
) -> list[Check]:
    """Compare what a trial needs of /dev/shm with what each node that has a GPU found there."""
    gpus = {node["NodeManagerAddress"] for node in nodes if node["Resources"].get("GPU")}
    return [
        check
        for label, answer in found.items()
        if not isinstance(answer, str) and label.partition(" ")[0] in gpus
        for check in shared_memory_check(needed, answer.get("shared_memory"), label)
    ]


def _storage_checks(
    storage: Path, folder: Path, content: str, found: dict[str, dict[str, Any] | str]
) -> list[Check]:
    hint = "give --storage FOLDER on a file system that every node has mounted there"
    checks = []
    for label, answer in found.items():
        if isinstance(answer, str):
            continue
        wrong = ""
        if answer["marker"] != content:
            wrong = f"{label} doesn't see what the driver wrote to {storage}"
        elif answer.get("refused"):
            wrong = f"{label} can't write to {storage}: {answer['refused']}"
        elif not answer["back"]:
            wrong = f"what {label} wrote to {storage} can't be seen here"
        if wrong:
            checks.append(Check("storage", "bad", wrong, hint))
    if not checks and len(found) > 1:
        checks.append(Check("storage", "ok", f"every node reads and writes {storage}"))
    return checks


def _reach_checks(uri: str, found: dict[str, dict[str, Any] | str]) -> list[Check]:
    hint = "every node needs the network and the keys to reach it"
    refused = [
        Check("storage", "bad", f"{label}: {answer['refused']}", hint)
        for label, answer in found.items()
        if not isinstance(answer, str) and answer.get("refused")
    ]
    return refused or [Check("storage", "ok", f"every node reads and writes {uri}")]


def _data_checks(
    own: dict[str, Any], found: dict[str, dict[str, Any] | str], files: Sequence[Path]
) -> list[Check]:
    hint = "put the same data set at the same path on every node"
    checks = []
    for label, answer in found.items():
        if isinstance(answer, str):
            continue
        pairs = list(zip(files, own["files"], answer["files"], strict=True))
        missing = [file for file, _, theirs in pairs if theirs is None]
        other = [file for file, ours, theirs in pairs if theirs is not None and theirs != ours]
        if missing:
            text = f"{label} lacks {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else "")
            checks.append(Check("data", "bad", text, hint))
        elif other:
            text = f"{label} has another {other[0]}" + (f" and {len(other) - 1} more" if other[1:] else "")
            checks.append(Check("data", "bad", text, hint))
    if not checks and files and len(found) > 1:
        checks.append(Check("data", "ok", f"every node has the same {len(files)} files looked at"))
    return checks


def _program_checks(programs: Mapping[str, Needs], found: dict[str, dict[str, Any] | str]) -> list[Check]:
    """Compare the foreign programs of every node that answered with the driver's code."""
    own = [look(replace(one, python="", conda="", words=()), start=False) for one in programs.values()]
    answers = {label: answer["programs"] for label, answer in found.items() if not isinstance(answer, str)}
    return program_checks(programs, answers, own) if answers else []
