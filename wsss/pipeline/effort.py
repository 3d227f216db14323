"""How much work an artefact is, so that the time and the disk of one tell those of another like it.

A record says what was worked on: how many images, how large, by which network. Two artefacts are
alike when stage, network, kind of device and what else decides the speed agree; then time grows with
images, epochs and pixels. It is not carried over to images of a quite different size, on which
a device is used quite differently: unknown is better than wrong.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wsss.data.decode import WORKING_PIXELS, photo_size, working_size
from wsss.data.view import DataView
from wsss.pipeline.chain import Chain, Node
from wsss.stages.memory_bound import photo_sizes

log = logging.getLogger("wsss")

_announced: set[tuple[str, int, int, str]] = set()
"""The sets of photos whose smaller copies this process has logged."""

LOOKED_AT = 32
ALIKE = 4.0
"""Largest ratio of pixels an image: sides twice as long."""
READS = {
    "cams": ("labelled_ids",),
    "pseudo_masks": ("labelled_ids",),
    "import": ("labelled_ids",),
    "scores": ("select", "report"),
}
"""Which images a stage works on; `train` if not named."""
POOLED = ("affinity_labels", "pseudo_masks")
"""Image by image on as many processes as there are CPUs, whatever the device."""
SERIAL = ("scores", "subcategories", "import")
"""On one CPU, whatever the device."""


def work_facts(stage: str, data: DataView, backbone: str) -> dict[str, Any]:
    """Return what an artefact's record says of its work: {"images", "pixels", "backbone"}; `pixels` is
    the mean of some of the photos."""
    ids = [id for name in READS.get(stage, ("train",)) for id in getattr(data, name, ())]
    step = max(1, -(-len(ids) // LOOKED_AT))
    areas = [math.prod(_size(data, id)) for id in ids[::step]]
    return {
        "images": len(ids),
        "pixels": round(sum(areas) / len(areas)) if areas else 0,
        "backbone": backbone,
    }


def smaller_copies(stage: str, data: DataView) -> dict[str, Any]:
    """Return what an artefact's record says of photos that a stage sees as smaller copies, and log it;
    nothing if there are none."""
    names = {"segmentations": ("select", "test")}.get(stage, READS.get(stage, ("train",)))
    ids = dict.fromkeys(id for name in names for id in getattr(data, name, ()))
    large = {id: size for id, size in photo_sizes(data, ids).items() if working_size(*size) != size}
    if not large:
        return {}
    id = max(large, key=lambda id: math.prod(large[id]))
    told = (str(data.dataset.root), len(ids), len(large), id)
    if told not in _announced:  # not again for every stage and trial
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
    """Return the network that a stage runs: its own, or that of the stage whose network it uses."""
    own = getattr(node.params, "backbone", "")
    if own or node.is_score:
        return str(own)
    for kind in ("classifier", "affinity"):
        if kind in node.inputs:
            return str(getattr(chain[node.inputs[kind]].params, "backbone", ""))
    return ""


def _size(data: DataView, id: str) -> tuple[int, int]:
    return working_size(*photo_size(data.dataset.image_path(id)))


@dataclass(frozen=True)
class Work:
    """A piece of work, planned or done: a stage's parameters as JSON, and `work_facts`. `device` is
    "cpu" or the name of a GPU ("cuda" while it has none)."""

    stage: str
    params: Mapping[str, Any]
    facts: Mapping[str, Any]
    device: str
    threads: int

    @property
    def pixels(self) -> float:
        """Pixels of an image as the stage sees it."""
        if "crop" in self.params:
            return float(self.params["crop"]) ** 2
        if self.params.get("size"):
            return 0.75 * float(self.params["size"]) ** 2  # its long side, at 4 to 3
        return float(self.facts["pixels"])

    @property
    def is_pooled(self) -> bool:
        return self.stage in POOLED and not self.params.get("walk")

    @property
    def amount(self) -> float:
        """What the time is proportional to, among works of equal `kind`."""
        amount = self.facts["images"] * max(self.pixels, 1.0) * max(1, self.params.get("epochs", 1))
        if self.stage == "cams":
            amount *= sum(scale**2 for scale in self.params["scales"]) * (1 + self.params["flip"])
        if self.is_pooled:
            amount *= self.params["crf"]["iterations"] / self.threads
        return float(amount)

    @property
    def kind(self) -> tuple[Any, ...]:
        """What has to agree for times to be comparable."""
        found = self.params.get("walk")
        walk = found if isinstance(found, dict) else {}
        own = [self.params.get(name) for name in ("kind", "freeze", "algorithm", "supervision", "head")]
        place: tuple[Any, ...] = ()
        if self.stage not in SERIAL and not self.is_pooled:
            # Threads don't add up: two give neither twice the speed nor the same.
            place = ("cpu", self.threads) if self.device == "cpu" else ("cuda",)
        walks = [walk.get(name) for name in ("log_steps", "radius", "crf")]
        return (self.stage, self.facts["backbone"], *own, *walks, *place)

    @property
    def size_kind(self) -> tuple[Any, ...]:
        """What has to agree for bytes to be comparable."""
        return (self.stage, self.facts["backbone"], self.params.get("kind"))

    @property
    def size_amount(self) -> float:
        """What the bytes are proportional to, among works of equal `size_kind`."""
        if "epochs" in self.params:  # a network
            return 1.0
        pixels = 1.0 if self.stage in ("scores", "subcategories", "features") else self.pixels
        return float(self.facts["images"] * max(pixels, 1.0))


@dataclass(frozen=True)
class Estimate:
    """What work like it came to: how much, from how many artefacts, on which devices."""

    value: float
    artefacts: int
    devices: tuple[str, ...]


@dataclass(frozen=True)
class Measured:
    work: Work
    seconds: float
    bytes: int


def measured(record: Mapping[str, Any]) -> Measured | None:
    """Return what an artefact's record tells; None when it is from before records told it."""
    if "work" not in record:
        return None
    facts = record["work"]
    work = Work(record["stage"], record["params"], facts, record["device"], record["threads"])
    size = sum(int(file["bytes"]) for file in record["files"].values())
    return Measured(work, float(record["seconds"]), size)


def estimate_seconds(work: Work, known: Sequence[Measured]) -> Estimate | None:
    """Return how long work like it would take, from the artefacts whose images are nearest in size."""
    like = [one for one in known if one.work.kind == work.kind and one.work.amount > 0]
    return _estimate(work, like, [one.seconds / one.work.amount for one in like], work.amount)


def estimate_bytes(work: Work, known: Sequence[Measured]) -> Estimate | None:
    """Return how large the artefact would be."""
    like = [one for one in known if one.work.size_kind == work.size_kind and one.work.size_amount > 0]
    return _estimate(work, like, [one.bytes / one.work.size_amount for one in like], work.size_amount)


def _estimate(work: Work, like: Sequence[Measured], rates: Sequence[float], amount: float) -> Estimate | None:
    distances = [_distance(work, one.work) for one in like]
    nearest = min(distances, default=math.inf)
    if nearest > math.log(ALIKE) + 1e-9:
        return None
    chosen = list(_at(distances, nearest))
    rate = sum(rates[index] for index in chosen) / len(chosen)
    devices = tuple(sorted({like[index].work.device for index in chosen}))
    return Estimate(rate * amount, len(chosen), devices)


def _distance(one: Work, other: Work) -> float:
    if one.pixels == other.pixels:
        return 0.0
    return abs(math.log(one.pixels / other.pixels)) if one.pixels and other.pixels else math.inf


def _at(distances: Sequence[float], nearest: float) -> Iterator[int]:
    return (index for index, distance in enumerate(distances) if distance - nearest < 0.05)
