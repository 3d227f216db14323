"""The parts of a trial that has a GPU: with it what a network does, on CPUs beside it all the rest.

A trial that no longer needs its GPU is paused and goes on, in another process, with what its next part takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsss.config import Resources
from wsss.pipeline.chains.chain import Chain, Side
from wsss.pipeline.events import Moving
from wsss.store.folder_store import Store
from wsss.tuning.nodes.placement import accelerator_resource


def asked_of_ray(resources: Resources) -> dict[str, float]:
    """Return the resources that a trial requests from Ray; a tiny share of the mark of its kind of GPU."""
    asked: dict[str, float] = {"cpu": resources.cpu, "gpu": resources.gpu}
    if resources.accelerator:
        asked[accelerator_resource(resources.accelerator)] = 0.001
    return asked


def first_part(chain: Chain, resources: Resources, store: Store) -> dict[str, Any]:
    """Return what a job says of the part that it begins with.

    `side` is None where the trial has no GPU and all is one part; `asked` are the resources of the part,
    `whole` those of the trial; `reported` names the stages whose end an earlier part has reported.
    """
    whole = asked_of_ray(resources)
    described: dict[str, Any] = {"side": None, "asked": whole, "whole": whole, "reported": []}
    if not resources.gpu:
        return described
    pending = chain.pending(store)
    node = pending[0] if pending else chain.nodes[-1]
    return described | _part(chain, node.label, node.side, whole)


def next_part(job: Mapping[str, Any], event: Moving) -> dict[str, Any]:
    """Return a job as it goes on after it has said that it moves."""
    chain = Chain.from_json(job["chain"])
    part = _part(chain, event.stage, "gpu" if event.gpu else "cpu", job["whole"])
    return {**job, **part, "reported": list(event.reported)}


def held_gpus(job: Mapping[str, Any]) -> float:
    """Return how many GPUs a job holds in its part."""
    return float(job["asked"].get("gpu", 0.0))


def _part(chain: Chain, label: str, side: Side, whole: Mapping[str, float]) -> dict[str, Any]:
    beside = {"cpu": chain.cpus_beside(label, int(whole["cpu"]))}
    return {"side": side, "asked": dict(whole) if side == "gpu" else beside}
