"""How much work an artefact is. From the time and the disk that one took, `plan` estimates those of
others.

A record says how many images there were, how large they were, and which network saw them. Two artefacts
are alike when they agree in stage, network, kind of device and all else that decides the speed. The time
of alike artefacts grows with images, epochs and pixels. Images of very different sizes use a device
differently, so `plan` makes no estimate from one size for another: unknown is better than wrong.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from wsss.config.params.base import Params
from wsss.config.stage import STAGES, StageKind

ALIKE = 4.0
"""Largest ratio between the pixels of two images whose times are compared: one has sides twice as long."""
FAR = math.log(ALIKE) + 1e-9
"""Largest `distance` of two such works."""

SHORT, SHORT_ON_GPU = 5.0, 30.0
"""Seconds. What starts a stage, such as reading weights, is most of the time of an artefact made faster. On a
GPU that is CUDA, its libraries and background processes, too: assumed, not measured."""


@dataclass(frozen=True)
class Work:
    """A piece of work, planned or done.

    Args:
        stage: its name.
        params: the stage's parameters, as JSON.
        facts: what `work_facts` returns.
        device: "cpu", or the name of a GPU; for planned work its kind, such as "A100", or "cuda".
        threads: CPUs of the trial.
    """

    stage: str
    params: Mapping[str, Any]
    facts: Mapping[str, Any]
    device: str
    threads: int

    @cached_property
    def _known(self) -> tuple[type[StageKind[Any]], Params] | None:
        """The stage and its parameters; None for those that this version, or this machine, doesn't know."""
        kind = STAGES.get(self.stage)
        try:
            return None if kind is None else (kind, kind.model().model_validate(self.params))
        except ValidationError:
            return None

    @cached_property
    def pixels(self) -> float:
        """Pixels of an image as the stage sees it."""
        if self._known is None:
            return 0.0
        kind, params = self._known
        return kind.pixels(params, float(self.facts["pixels"]))

    @cached_property
    def amount(self) -> float:
        """The time of works of one `kind` is proportional to this number; 0 where it is unknown."""
        if self._known is None:
            return 0.0
        kind, params = self._known
        amount = self.facts["images"] * max(self.pixels, 1.0) * kind.passes(params, self.facts)
        return float(amount / self.threads if kind.placed(params) == "pool" else amount)

    @cached_property
    def kind(self) -> tuple[Any, ...]:
        """What two works must have in common before their times are compared."""
        if self._known is None:
            return (self.stage, None)
        kind, params = self._known
        place: tuple[Any, ...] = ()
        where = kind.placed(params)
        if where.startswith("device"):
            # Two threads are faster than one, but not twice as fast: compare equal numbers only.
            counted = self.device == "cpu" or where != "device"
            place = ("cpu" if self.device == "cpu" else "cuda", self.threads if counted else 0)
        return (self.stage, self.facts["backbone"], *kind.alike(params), where, *place)

    @property
    def by_device(self) -> bool:
        """Whether a GPU does it, whose name decides how long it takes. CPUs do a part of a trial with one."""
        return bool(self.device != "cpu" and "cuda" in self.kind)

    @cached_property
    def size_kind(self) -> tuple[Any, ...]:
        """What two works must have in common before their sizes are compared."""
        return (self.stage, self.facts["backbone"], self.params.get("kind"), self._known is None)

    @cached_property
    def size_amount(self) -> float:
        """The bytes of works of one `size_kind` are proportional to this number; 0 where it is unknown."""
        if self._known is None:
            return 0.0
        grows = self._known[0].grows
        if not grows:
            return 1.0
        return float(self.facts["images"] * (max(self.pixels, 1.0) if grows == "pixels" else 1.0))


@dataclass(frozen=True)
class Estimate:
    """An estimate: the value, the number of artefacts behind it, and the devices that they ran on."""

    value: float
    artefacts: int
    devices: tuple[str, ...]


@dataclass(frozen=True)
class Measured:
    work: Work
    seconds: float
    bytes: int


def measured(record: Mapping[str, Any]) -> Measured | None:
    """Return the time and size in an artefact's record; None for an old record without its work."""
    if "work" not in record:
        return None
    facts = record["work"]
    work = Work(record["stage"], record["params"], facts, record["device"], record["threads"])
    size = sum(int(file["bytes"]) for file in record["files"].values())
    return Measured(work, float(record["seconds"]), size)


def estimate_seconds(work: Work, known: Sequence[Measured]) -> Estimate | None:
    """Return how long a work will take, estimated from the artefacts whose images are nearest in size.

    None where no artefact of its `kind` tells: each was measured on images of another size, or too short.

    Args:
        work: what is planned.
        known: times and sizes of earlier artefacts.
    """
    like = [one for one in known if one.work.kind == work.kind and long_enough(one, work)]
    like = list(_on_one_device(work, like)) if work.by_device else like
    return _estimate(work, like, [one.seconds / one.work.amount for one in like], work.amount)


def estimate_bytes(work: Work, known: Sequence[Measured]) -> Estimate | None:
    """Return the bytes of a work's artefact, estimated from those whose images are nearest in size.

    None where no artefact of its `size_kind` was measured on images of similar size.

    Args:
        work: what is planned.
        known: times and sizes of earlier artefacts.
    """
    like = [one for one in known if one.work.size_kind == work.size_kind and has_size(one)]
    return _estimate(work, like, [one.bytes / one.work.size_amount for one in like], work.size_amount)


def _estimate(work: Work, like: Sequence[Measured], rates: Sequence[float], amount: float) -> Estimate | None:
    distances = [distance(work, one.work) for one in like]
    nearest = min(distances, default=math.inf)
    if nearest > FAR:
        return None
    chosen = list(_at(distances, nearest))
    rate = sum(rates[index] for index in chosen) / len(chosen)
    devices = tuple(sorted({like[index].work.device for index in chosen}))
    return Estimate(rate * amount, len(chosen), devices)


def long_enough(one: Measured, work: Work) -> bool:
    """Whether the time of an artefact tells how long a work takes: the artefact took long enough, or the work
    is about as small. A smoke run's artefacts are short: what starts a stage would be multiplied."""
    short = SHORT_ON_GPU if one.work.by_device else SHORT
    return one.work.amount > 0 and (one.seconds >= short or work.amount <= ALIKE * one.work.amount)


def has_size(one: Measured) -> bool:
    """Whether the size of an artefact tells of others: archived records have no files left."""
    return one.bytes > 0 and one.work.size_amount > 0


def is_kind_of_gpu(name: str, accelerator: str) -> bool:
    """Tell whether a card of that name ("NVIDIA A100-SXM4-40GB") is of a kind by Ray's name ("A100")."""
    dashed = name.replace(" ", "-").upper()
    return re.search(rf"(^|-){re.escape(accelerator.upper())}(-|$)", dashed) is not None


def _on_one_device(work: Work, like: Sequence[Measured]) -> Sequence[Measured]:
    """Return the measurements of one model of GPU, as models differ by a factor of ten: the work's own, if
    it is known. Otherwise, of the models of its kind, the one with the most artefacts; the slowest of
    several."""
    groups: dict[str, list[Measured]] = {}
    for one in like:
        groups.setdefault(one.work.device, []).append(one)
    if work.device in groups:
        return groups[work.device]
    if work.device != "cuda":
        groups = {name: group for name, group in groups.items() if is_kind_of_gpu(name, work.device)}
    rate = {name: sum(one.seconds / one.work.amount for one in group) for name, group in groups.items()}
    return max(groups.values(), key=lambda group: (len(group), rate[group[0].work.device]), default=())


def distance(one: Work, other: Work) -> float:
    """Return how unlike two works are in the pixels of an image: the logarithm of their ratio, 0 for equal
    ones."""
    if one.pixels == other.pixels:
        return 0.0
    return abs(math.log(one.pixels / other.pixels)) if one.pixels and other.pixels else math.inf


def _at(distances: Sequence[float], nearest: float) -> Iterator[int]:
    return (index for index, distance in enumerate(distances) if distance - nearest < 0.05)
