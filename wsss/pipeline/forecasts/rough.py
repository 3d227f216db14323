"""Rough estimates where no work alike was measured: of other networks and sizes, or on another machine.

They come from what this storage has of the same stage, else from a table that the package brings along,
`costs.json`: artefacts of small and of large photos, and how long each backbone takes, all on one processor.
`python benchmarks/costs.py STORAGE` writes it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from wsss.pipeline.forecasts.effort import FAR, Estimate, Measured, Work, distance, has_size, long_enough

PACKAGED = "another machine (packaged)"
"""What stands for the device of the packaged table."""


@functools.cache
def packaged() -> tuple[tuple[Measured, ...], Mapping[str, float]]:
    """Return the artefacts of the packaged table, and each backbone's seconds for the same photo."""
    content: dict[str, Any] = json.loads(
        (resources.files("wsss.pipeline.forecasts") / "costs.json").read_text(encoding="utf-8")
    )
    known = tuple(
        Measured(
            Work(one["stage"], one["params"], one["work"], one["device"], one["threads"]),
            float(one["seconds"]),
            int(one["bytes"]),
        )
        for one in content["artefacts"]
    )
    return known, content["backbones"]


def rough_seconds(work: Work, known: Sequence[Measured]) -> Estimate | None:
    """Return how long work might take: from the same stage on the same kind of device, whatever its network
    and images.

    An artefact tells if its images are of similar size and it was not made within moments. Those of this
    storage that do come first, then the packaged ones that do, then, on CPUs, any: small images keep a GPU
    waiting, so that their time says nothing of large ones. Of several, one of the same kind of work is chosen
    before one of the same backbone, and that before the nearest in size.

    Args:
        work: planned.
        known: measured on this storage.
    """
    mine, theirs = ([one for one in where if _comparable(one.work, work)] for where in (known, packaged()[0]))
    telling = ([one for one in where if _tells(one, work)] for where in (mine, theirs))
    for like in (*telling, *(() if work.by_device else (mine, theirs))):
        if like:
            best = max(like, key=lambda one: (*_closeness(one.work, work), one.work.amount))
            rate = best.seconds / best.work.amount * _ratio(work, best.work)
            own = any(best is one for one in mine)
            return Estimate(rate * work.amount, 1, (best.work.device if own else PACKAGED,))
    return None


def rough_bytes(work: Work, known: Sequence[Measured]) -> float | None:
    """Return how large an artefact might be: as those of the same stage, by images and pixels."""
    for where in (known, packaged()[0]):
        like = [one for one in where if one.work.stage == work.stage and has_size(one)]
        if like:
            best = max(like, key=lambda one: (*_closeness(one.work, work), one.work.amount))
            return best.bytes / best.work.size_amount * work.size_amount
    return None


def _comparable(one: Work, other: Work) -> bool:
    """Whether two works are of one stage, and done by CPUs or by GPUs both."""
    return one.stage == other.stage and one.by_device == other.by_device and one.amount > 0


def _tells(one: Measured, work: Work) -> bool:
    return long_enough(one, work) and distance(one.work, work) <= FAR


def _closeness(one: Work, other: Work) -> tuple[bool, bool, float]:
    same_network = one.facts.get("backbone") == other.facts.get("backbone")
    return one.kind == other.kind, same_network, -distance(one, other)


def _ratio(work: Work, like: Work) -> float:
    """Return how much longer the work's backbone takes than the other's, for the same photo; 1 where nobody
    has measured both."""
    seconds = packaged()[1]
    mine, theirs = (seconds.get(one.facts.get("backbone", "")) for one in (work, like))
    return mine / theirs if mine and theirs else 1.0
