"""Whether /dev/shm is large enough for the crops that background processes hand to a GPU's process."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wsss.config import Study, Sweep
from wsss.config.stage import STAGES
from wsss.pipeline.check import Check
from wsss.pipeline.forecasts.preflight import gibibytes

SHARED = Path("/dev/shm")  # noqa: S108 - it is only looked at
AHEAD = 2
"""Batches that each background process keeps ready."""
HINT = "give the container more, `docker run --shm-size=1g`, or the trial `cpu: 1`"


def free_shared_memory() -> int | None:
    """Return the free bytes of /dev/shm; None on a system without it."""
    try:
        return shutil.disk_usage(SHARED).free
    except OSError:
        return None


def needed_shared_memory(study: Study) -> int:
    """Return the most bytes that one trial of a study keeps in /dev/shm; 0 without a GPU, or where no process
    decodes in the background."""
    most = 0
    for sweep in study.sweeps:
        helpers = sweep.resources.cpu - 1
        if sweep.resources.gpu and helpers > 0:
            batches = AHEAD * helpers + 1
            most = max([most, *(batches * size for size in _batch_bytes(sweep))])
    return most


def _batch_bytes(sweep: Sweep) -> Iterator[int]:
    """Yield the bytes of a batch of each training of a sweep; a searched parameter counts with its
    default."""
    for use in (use for arm in sweep.arms for use in arm.stages):
        fields = STAGES[use.stage].model().model_fields
        if {"crop", "batch"} <= fields.keys():
            crop, batch = (_number(use.params, key, fields[key].default) for key in ("crop", "batch"))
            yield 4 * batch * crop**2  # a pixel: three colours and a label


def _number(params: Mapping[str, Any], key: str, default: int) -> int:
    value = params.get(key, default)
    return value if isinstance(value, int) else default


def shared_memory_check(needed: int, free: int | None, where: str = "") -> list[Check]:
    """Compare what a trial needs of /dev/shm with what is free there: nothing to say where it needs none.

    Args:
        needed: in bytes.
        free: in bytes; None where there is no /dev/shm.
        where: names the machine, where it isn't this one.
    """
    if not needed or free is None:
        return []
    have = f"{f'{where}: ' if where else ''}{gibibytes(free)} are free in {SHARED}"
    asks = f"{gibibytes(needed)} at most"
    if free < needed:
        wrong = f"{have}, but a trial's background processes keep batches of {asks} there"
        return [Check("shared memory", "bad", wrong, HINT)]
    return [Check("shared memory", "ok", f"{have}, a trial needs {asks}")]
