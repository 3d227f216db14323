"""What an artefact's record says of the work: how many photos, how large, by which network."""

from __future__ import annotations

import logging
import math
from typing import Any

from wsss.config.stage import STAGES
from wsss.data.pictures.decode import photo_size
from wsss.data.pictures.sizes import WORKING_PIXELS, working_size
from wsss.data.view import DataView, photo_sizes
from wsss.pipeline.chains.chain import Chain, Node

log = logging.getLogger("wsss")

LOOKED_AT = 32
"""How many photos of a list are measured; their mean stands for all."""
Looked = dict[tuple[str, ...], dict[str, int]]
"""What was found of photos, by the names of their lists."""
_announced: set[tuple[str, int, int, str]] = set()
"""The sets of photos whose smaller copies this process has logged."""


def work_facts(node: Node, chain: Chain, data: DataView, looked: Looked | None = None) -> dict[str, Any]:
    """Return the facts of a node's work for its record: {"images", "pixels", "backbone"}, and the stage's
    "notes" if it has any. `pixels` is a mean over some of the photos.

    Args:
        node: whose work it is.
        chain: where the node stands.
        data: the images.
        looked: what earlier calls found of photos; a call adds to it, so that no photo is measured twice.
    """
    kind = STAGES[node.stage]
    names = kind.images(node.params)
    looked = {} if looked is None else looked
    if names not in looked:
        looked[names] = _photo_facts(names, data)
    notes = kind.notes(node.params, {name: chain[label].params for name, label in node.inputs.items()})
    return {
        **looked[names],
        "backbone": backbone_of(node, chain),
        **({"notes": notes} if notes else {}),
    }


def _photo_facts(names: tuple[str, ...], data: DataView) -> dict[str, int]:
    ids = [id for name in names for id in getattr(data, name, ())]
    step = max(1, -(-len(ids) // LOOKED_AT))
    areas = [math.prod(_size(data, id)) for id in ids[::step]]
    return {"images": len(ids), "pixels": round(sum(areas) / len(areas)) if areas else 0}


def smaller_copies(node: Node, data: DataView) -> dict[str, Any]:
    """Return what a record says of photos that a stage sees as smaller copies, and log it; {} if there are
    none."""
    stage = node.stage
    names = STAGES[stage].images(node.params)
    ids = dict.fromkeys(id for name in names for id in getattr(data, name, ()))
    large = {id: size for id, size in photo_sizes(data, ids).items() if working_size(*size) != size}
    if not large:
        return {}
    id = max(large, key=lambda id: math.prod(large[id]))
    told = (str(data.dataset.root), len(ids), len(large), id)
    if told not in _announced:  # log it once, not for every stage and trial
        _announced.add(told)
        _announce_copies(stage, len(ids), len(large), id, large[id])
    return {"smaller_copies": {"photos": len(large), "most_pixels": WORKING_PIXELS}}


def _announce_copies(stage: str, photos: int, large: int, id: str, size: tuple[int, int]) -> None:
    log.warning(
        "%s: %d of %d photos have more than %s pixels and are worked on as smaller copies; %s of %d × %d "
        "pixels, the largest, as one of %d × %d",
        stage, large, photos, f"{WORKING_PIXELS:,}", id, *size, *working_size(*size),
    )  # fmt: skip


def backbone_of(node: Node, chain: Chain) -> str:
    """Return the network that a stage runs: its own, or that of the first stage it reads that has one. A
    trained head without a network of its own runs on that of its classifier."""
    if own := getattr(node.params, "backbone", ""):
        return str(own)
    sources = [chain[label] for label in node.inputs.values()]
    found = (_network_of(source, chain) for source in sources)
    return next((name for name in found if name), "")


def _network_of(node: Node, chain: Chain) -> str:
    if own := getattr(node.params, "backbone", ""):
        return str(own)
    return backbone_of(node, chain) if any(STAGES[node.stage].trained(node.params)) else ""


def _size(data: DataView, id: str) -> tuple[int, int]:
    return working_size(*photo_size(data.dataset.image_path(id)))
