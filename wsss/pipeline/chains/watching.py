"""Telling a watcher how far a step is, from inside of it."""

from __future__ import annotations

import time
from collections.abc import Callable

from wsss.pipeline.events import StepPart
from wsss.stages.contract import OnPart

Watch = Callable[[StepPart], None]
WATCH_SECONDS = 1.0
"""How often, at most, a watcher hears of the parts of a step."""


def teller(watch: Watch, trial: str, stage: str, place: Callable[[], tuple[int, int]]) -> OnPart:
    """Return what tells the watcher of the parts of a step, now and then.

    Args:
        watch: hears it.
        trial: what events call the trial.
        stage: the stage's label.
        place: returns (steps done, steps in all).
    """
    told = 0.0

    def tell(part: int, parts: int) -> None:
        nonlocal told
        if time.monotonic() - told >= WATCH_SECONDS:
            told = time.monotonic()
            watch(StepPart(trial, stage, *place(), part, parts))

    return tell
