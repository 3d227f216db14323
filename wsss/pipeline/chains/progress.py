"""How far an artefact is that is being made: resumed from its newest checkpoint, and written to the next."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from wsss.stages.contract import Stage
from wsss.store.partial import Partial
from wsss.store.records import CheckpointFacts, checked, say_once

CHECKPOINT_SHARE = 0.02
"""Of the time, at most, goes into checkpoints: one that takes long to write is written less often."""
Metrics = dict[str, float]


class Progress:
    """The steps that are done, and when a checkpoint holds them.

    It resumes from the newest checkpoint that was made from the same inputs; without one, the work starts
    from the beginning.

    Args:
        stage: what is done step by step.
        partial: where its checkpoints lie.
        about: what a checkpoint notes besides: the digests of the `inputs`.
        pause: seconds between two checkpoints; 0 writes one after every step.
    """

    def __init__(self, stage: Stage, partial: Partial, about: Mapping[str, Any], pause: float) -> None:
        self._stage = stage
        self._partial = partial
        self._about = about
        self._least = self._pause = pause
        self.done = 0
        self.history: list[Metrics] = []
        """The metrics of every step."""
        self.times: list[int] = []
        """When each step was done, in ms since 1970."""
        self._spent = 0.0
        self._on_disk = -1
        """The steps that a checkpoint holds; -1 without one."""
        if not self._resume():
            partial.reset()
        self._started = self._saved = time.monotonic()

    def _resume(self) -> bool:
        newest = self._partial.newest()
        if newest is None or newest[2].get("inputs") != self._about["inputs"]:
            return False
        done, folder, state = newest
        try:
            checked(CheckpointFacts, state)
        except ValueError as error:
            say_once(str(folder), f"is no checkpoint ({error}); the work begins again")
            return False
        self._stage.load(folder, done)
        self.done = self._on_disk = done
        self.history = list(state["history"])
        self.times = list(state.get("times", [0] * len(self.history)))
        self._spent = float(state["seconds"])
        return True

    def begin(self) -> None:
        """Start the clock."""
        self._started = self._saved = time.monotonic()

    @property
    def seconds(self) -> float:
        """Of all steps, those before the checkpoint included."""
        return self._spent + time.monotonic() - self._started

    @property
    def has_checkpoint(self) -> bool:
        return self._on_disk >= 0

    @property
    def all_saved(self) -> bool:
        """Whether a checkpoint holds every step that is done."""
        return self.done <= self._on_disk

    @property
    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return time.monotonic() - self._saved >= self._pause

    def add(self, metrics: Metrics) -> None:
        """Note a step that is done."""
        self.done += 1
        self.history.append(metrics)
        self.times.append(int(time.time() * 1000))

    def save(self) -> None:
        """Write a checkpoint. The next one is due the later, the longer this one took."""
        began = time.monotonic()
        state = {"history": self.history, "times": self.times, "seconds": self.seconds}
        self._partial.save(self.done, self._stage.save, {**self._about, **state})
        self._on_disk = self.done
        self._saved = time.monotonic()
        self._pause = max(self._least, (self._saved - began) / CHECKPOINT_SHARE) if self._least else 0.0
