"""What measured speeds mean for a study on this machine."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from wsss.pipeline.speed.measure import Measured
from wsss.pipeline.speed.settings import OUTSIDE, TRAINING, Settings, Speed

TRAININGS = ("classifier step", "segmenter step")


class Row(NamedTuple):
    """What was looked at, how it is, and what was found, in words."""

    what: str
    state: Literal["ok", "note"]
    found: str


def speed_rows(measured: Measured) -> list[Row]:
    """Return a row for each step that was measured."""
    return [
        Row(
            speed.step,
            "ok" if speed.step not in TRAININGS or speed.share >= TRAINING else "note",
            f"{speed.ours:.1f} images/s, {speed.share:.2f} of the bare network's {speed.bare:.1f}",
        )
        for speed in measured.speeds
    ]


def outside(speed: Speed) -> float:
    """Return the share of the time of a step that is spent outside of the network, in [0, 1]."""
    return max(0.0, 1 - speed.share)


def needed_cpus(measured: Measured) -> int:
    """Return how many CPUs a trial takes to read as fast as its classifier learns, and to feed it."""
    return 1 + max(1, math.ceil(measured.speed("classifier step").bare / measured.decoded))


def limits(measured: Measured, settings: Settings, cpus: int, gpus: int) -> Row:
    """Return what limits a study on a machine.

    Args:
        measured: on it.
        settings: of that.
        cpus: that it has.
        gpus: that it has.
    """
    speed = measured.speed("classifier step")
    reads = f"a CPU reads {measured.decoded:.0f} images/s, the network learns from {speed.bare:.0f}"
    if not gpus:
        state: Literal["ok", "note"] = "ok" if outside(speed) <= OUTSIDE else "note"
        share = f"{outside(speed):.0%} of an epoch is outside of the network"
        return Row("limit", state, f"no GPU, the network itself: {reads}; {share}")
    needed, each = needed_cpus(measured), cpus // gpus
    if needed > each:
        has = f"a trial takes {needed} CPUs to keep up, this machine has {each} for each GPU"
        return Row("limit", "note", f"reading photos: {reads}; {has}")
    beside = each - needed
    left = f", {beside} are left to score beside" if beside else ", none is left to score beside"
    return Row("limit", "ok", f"the network: {reads}; `resources.cpu` of {needed} keeps up{left}")
