"""The Ray Tune trainable: one chain, one event of it per step."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.execution.placement_groups import PlacementGroupFactory, resource_dict_to_pg_factory

from wsss.config import DataSpec
from wsss.data.view import DataView, open_data
from wsss.errors import StorageError, WsssError
from wsss.pipeline.chains.chain import Chain
from wsss.pipeline.chains.execute import run_chain
from wsss.pipeline.events import (
    ChainEvent,
    GpuWaiting,
    Moving,
    StageFinished,
    StageSaid,
    StageWaiting,
    TrialProgress,
)
from wsss.store.storage import open_storage
from wsss.tuning.trials.gpu import prepare_gpu
from wsss.tuning.trials.watching import teller

EVENT = "event"
ERROR = "error"
STORAGE = "storage_error"
"""Whether the storage failed: every other trial would fail likewise."""
_EVENTS = {
    kind.__name__: kind
    for kind in (TrialProgress, StageWaiting, GpuWaiting, Moving, StageSaid, StageFinished)
}


class ChainTrainable(tune.Trainable):
    """Makes the chain in its configuration. Ray never checkpoints it: the artefacts do that.

    A restarted trial finds finished artefacts in the store and resumes the unfinished one from its newest
    checkpoint. Errors that would happen again are returned, not raised, so that Ray does not retry them.
    The first step opens storage and data: after an error in `setup` Ray would try to create the actor
    again, and an error in `reset_config` would end the run.
    """

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> PlacementGroupFactory:
        """Return what the part of the trial that begins asks for."""
        asked: PlacementGroupFactory = resource_dict_to_pg_factory(config["job"]["asked"])
        return asked

    def setup(self, config: dict[str, Any]) -> None:
        self._data: tuple[str, DataView] | None = None
        self._events: Iterator[ChainEvent] = iter(())
        self._waiting: dict[str, Any] | None = config
        """The chain that the next step begins."""
        if self.is_actor():  # type: ignore[no-untyped-call]  # Ray's, inherited
            _end_with_parent()

    def _start(self, config: dict[str, Any]) -> None:
        self._close()
        job = config["job"]
        storage = open_storage(job["storage"])
        events = run_chain(
            job["id"],
            Chain.from_json(job["chain"]),
            storage.store,
            self._open(job["data"], storage.local),
            device=job["device"],
            threads=job["threads"],
            workers=job["workers"],
            watch=teller(job["board"]) if job.get("board") else None,
            side=job["side"],
            reported=job["reported"],
        )
        self._events = _with_gpu(job, events) if job["side"] == "gpu" else events
        self._waiting = None

    def _open(self, spec: dict[str, Any], folder: Path) -> DataView:
        """Open the data, or keep it when the actor goes on to another trial of the same study."""
        identity = repr(spec)
        if self._data is None or self._data[0] != identity:
            view = open_data(DataSpec.model_validate(spec), storage=folder, verify=False)
            self._data = (identity, view)
        return self._data[1]

    def step(self) -> dict[str, Any]:
        try:
            if self._waiting is not None:
                self._start(self._waiting)
            event = next(self._events)
        except StopIteration:
            return {"done": True}
        except WsssError as error:
            return {"done": True, ERROR: str(error), STORAGE: isinstance(error, StorageError)}
        # As text: Ray would take a mapping apart at every "/" of its keys.
        return {EVENT: json.dumps({"type": type(event).__name__, **dataclasses.asdict(event)})}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write nothing: half-made artefacts keep their own checkpoints, where any process finds them."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Do nothing: `save_checkpoint` wrote nothing."""

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._waiting = new_config
        return True

    def cleanup(self) -> None:
        self._close()

    def _close(self) -> None:
        events, self._events = self._events, iter(())
        close = getattr(events, "close", None)
        if close is not None:
            close()  # releases the lease on a half-made artefact


def _with_gpu(job: dict[str, Any], events: Iterator[ChainEvent]) -> Iterator[ChainEvent]:
    """Yield the events of waiting for the GPU, then those of the chain."""
    for reason in prepare_gpu(job["gpu"]):
        yield GpuWaiting(job["id"], reason)
    yield from events


def _end_with_parent(every: float = 1.0) -> None:
    """End this process when its raylet has died: Ray would leave it waiting for a next step, and it would
    keep its GPU."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(every)
        os._exit(1)

    threading.Thread(target=watch, name="raylet", daemon=True).start()


def event_from_json(text: str) -> ChainEvent:
    """Return the event that `ChainTrainable.step` sent."""
    fields = json.loads(text)
    kind = _EVENTS[fields.pop("type")]
    if kind is Moving:
        fields["reported"] = tuple(fields["reported"])
    return kind(**fields)
