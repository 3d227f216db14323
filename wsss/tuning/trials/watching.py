"""How far running steps are, from trials to a driver that somebody watches: nothing depends on it.

Ray Tune hears of a trial once a step, which may be an epoch of an hour. So trials tell an actor, and the
driver asks it, about once a second. Without a watcher there is no actor.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
import uuid
from collections.abc import Callable
from typing import Any

import wsss.tuning.environment  # noqa: F401 - first: Ray reads it when imported

import ray  # isort: skip
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # isort: skip

from wsss.pipeline.events import StepPart

EVERY = 1.0
"""Seconds between two questions."""


class _Board:
    """The newest word of each trial: an actor."""

    def __init__(self) -> None:
        self._newest: dict[str, dict[str, Any]] = {}

    def put(self, part: dict[str, Any]) -> None:
        self._newest[part["trial"]] = part

    def take(self) -> list[dict[str, Any]]:
        newest, self._newest = self._newest, {}
        return list(newest.values())


class Board:
    """The driver's side: an actor on this node, which needs no CPU, and what it was asked last."""

    def __init__(self) -> None:
        self.name = f"wsss-board-{uuid.uuid4().hex}"
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        remote: Any = ray.remote(_Board)
        self._actor = remote.options(name=self.name, num_cpus=0, scheduling_strategy=here).remote()
        self._asked: Any = None
        self._when = 0.0

    def poll(self, tell: Callable[[StepPart], None]) -> None:
        """Tell what has come in since the last call, and ask again; wait for nothing."""
        if time.monotonic() - self._when < EVERY:
            return
        self._when = time.monotonic()
        parts: list[dict[str, Any]] = []
        with contextlib.suppress(Exception):  # the actor may have died with its node
            if self._asked is not None:
                if not ray.wait([self._asked], timeout=0)[0]:
                    return
                parts = ray.get(self._asked)
            self._asked = self._actor.take.remote()
        for part in parts:
            tell(StepPart(**part))

    def close(self) -> None:
        """End the actor."""
        with contextlib.suppress(Exception):
            ray.kill(self._actor)


def teller(name: str) -> Callable[[StepPart], None]:
    """Return what tells the board of that name; where there is none any more it does nothing."""
    actor: Any = None

    def tell(part: StepPart) -> None:
        nonlocal actor
        with contextlib.suppress(Exception):
            actor = actor or ray.get_actor(name)
            actor.put.remote(dataclasses.asdict(part))

    return tell
