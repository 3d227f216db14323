"""Checks every node of a Ray cluster before a study starts: the same code, the same data, one storage.

Each node runs one small task. It reads a marker that the driver has written to the storage, and writes its
own, which the driver reads. This shows that both see one folder, and not two of the same name.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray

from wsss.config import DataSpec, Resources
from wsss.config.text.location import Location, is_remote
from wsss.data.view import DataView
from wsss.files import write_atomic
from wsss.pipeline.check import Check
from wsss.stages.programs.readiness import Needs
from wsss.tuning.nodes.comparing import (
    file_checks,
    folder_checks,
    foreign_checks,
    memory_checks,
    object_checks,
    version_checks,
)
from wsss.tuning.nodes.looking import Asked, ask_nodes, describe_node
from wsss.tuning.nodes.placement import launched, nodes_check, placement_checks

SAMPLED = 20
"""Images with labels, and as many with masks, whose files are compared."""


@dataclass(frozen=True)
class Wanted:
    """What a study needs of every node.

    Args:
        storage: where every node must find what the driver writes.
        data: the driver's images; None leaves them out.
        spec: the study's `data`.
        shared: bytes that a trial needs in /dev/shm.
        programs: foreign ones of the study, by their places in it.
        start: whether nodes start the programs' interpreters, which the user must have allowed.
    """

    storage: Location
    data: DataView | None = None
    spec: DataSpec | None = None
    shared: int = 0
    programs: Mapping[str, Needs] = field(default_factory=dict)
    start: bool = False


def cluster_checks(resources: Sequence[Resources], wanted: Wanted) -> list[Check]:
    """Check the cluster that this process is connected to.

    Every node must have the driver's code, its storage and its photos. Some node, or one that the cluster
    may start, must have room for a trial of each sweep, whose `resources` these are.
    """
    nodes = alive_nodes()
    asked = launched(nodes)
    checks = [nodes_check(nodes, asked.listed), *placement_checks(resources, nodes, asked.startable)]
    return [*checks, *node_checks(nodes, wanted)]


def alive_nodes() -> list[dict[str, Any]]:
    """Return Ray's description of every node that is alive."""
    list_nodes: Any = ray.nodes
    return [node for node in list_nodes() if node["Alive"]]


def node_checks(nodes: Sequence[dict[str, Any]], wanted: Wanted) -> list[Check]:
    """Run the task on every node and compare what it found with what the driver has.

    If the study is on the sample set and an object storage, each node first draws the set into its own
    cache, as its trials would.

    Args:
        nodes: Ray's descriptions of them.
        wanted: what each of them must have.
    """
    storage, data, spec = wanted.storage, wanted.data, wanted.spec
    files = sampled_files(data) if data is not None else []
    own = describe_node(files)
    asked = Asked(tuple(map(str, files)), programs=tuple(wanted.programs.values()), start=wanted.start)
    if is_remote(storage):
        if data is not None and spec is not None and spec.root is None:
            asked = replace(asked, drawn=(spec.model_dump(mode="json"), str(data.dataset.root)))
        answers = ask_nodes(nodes, str(storage), asked)
        reached = object_checks(str(storage), answers)
    else:
        storage = Path(storage)
        folder = storage / f".preflight-{uuid.uuid4().hex[:8]}"
        content = uuid.uuid4().hex
        write_atomic(folder / "driver", content)
        try:
            answers = ask_nodes(nodes, str(folder), asked)
            reached = folder_checks(storage, content, answers)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return [
        *version_checks(own, answers),
        *memory_checks(wanted.shared, nodes, answers),
        *reached,
        *file_checks(own, files, answers),
        *foreign_checks(wanted.programs, answers),
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
