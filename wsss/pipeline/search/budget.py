"""What a study has used up, over all its runs, and whether that is all it may.

Two kinds of entries in the ledger are enough to know, whatever ended a run:

    made   an artefact that this study computed, and its bytes
    run    one run so far: seconds on the clock, seconds by GPUs held. Written again every minute and when
           a trial ends; the last entry of a run counts. Also the trials that ended since the one before
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from wsss.config import Budget, Study
from wsss.store.folder_store import Store
from wsss.store.ledger import Ledger
from wsss.store.storage import open_storage

HEARTBEAT = 60.0
"""Seconds between two notes of what a run has used: as much is forgotten when the driver is killed."""
NAMES = {"hours": "hours", "gpu_hours": "GPU hours", "trials": "trials", "disk_gb": "GB of disk"}


@dataclass(frozen=True)
class Spent:
    """In the units of `Budget`."""

    hours: float = 0.0
    gpu_hours: float = 0.0
    trials: int = 0
    disk_gb: float = 0.0

    def over(self, budget: Budget) -> str:
        """Return the name of the first limit that is reached, or an empty string."""
        limits = budget.model_dump(exclude_none=True)
        return next((name for name, limit in limits.items() if getattr(self, name) >= limit), "")


def describe(name: str, spent: Spent, budget: Budget) -> str:
    """Return "2.1 of 2 GPU hours"."""
    used = getattr(spent, name)
    return f"{used if isinstance(used, int) else f'{used:.3g}'} of {getattr(budget, name):.4g} {NAMES[name]}"


class Meter:
    """Measures one run of a study on top of the earlier ones. `clock` gives seconds."""

    def __init__(
        self, budget: Budget, ledger: Ledger, store: Store, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.budget = budget
        self._ledger = ledger
        self._store = store
        self._clock = clock
        self._began = self._noted = clock()
        self._id = uuid.uuid4().hex[:8]
        self._earlier, self._trials, self._bytes = read_ledger(ledger, store)
        self._running: dict[str, tuple[float, float]] = {}
        self._gpu_seconds = 0.0
        self._ended: set[str] = set()
        self._told: set[str] = set()
        self._used = False

    def started(self, job: str, gpus: float) -> None:
        """A job holds its resources from now on. A restarted job keeps its own; they are not counted
        twice."""
        self._used = True
        self._running.setdefault(job, (self._clock(), gpus))

    def holds(self, job: str, gpus: float) -> None:
        """A job that has started holds so many GPUs from now on."""
        if job in self._running:
            now, (began, held) = self._clock(), self._running[job]
            self._gpu_seconds += (now - began) * held
            self._running[job] = now, gpus

    def ended(self, job: str, *, trial: bool) -> None:
        """A job gave its resources back; `trial` says that it was one and has a result."""
        began, gpus = self._running.pop(job, (self._clock(), 0.0))
        self._gpu_seconds += (self._clock() - began) * gpus
        if trial:
            self._ended.add(job)
        self.note()

    def stopped(self) -> None:
        """Nothing runs any more: end the jobs that have not ended."""
        for job in list(self._running):
            self.ended(job, trial=False)

    def made(self, key: str) -> None:
        """The study has computed an artefact."""
        artefact = self._store.known(key)
        if artefact is not None:
            self._bytes[key] = artefact.bytes
            self._ledger.append("made", key=key, bytes=artefact.bytes)

    def deleted_some(self) -> None:
        """Files of artefacts were deleted: their bytes count no longer."""
        self._bytes = {key: size for key, size in self._bytes.items() if _is_there(self._store, key)}

    def room(self) -> int | None:
        """Return how many more trials may start; None means any number."""
        if self.budget.trials is None:
            return None
        return max(0, self.budget.trials - len(self._trials | self._ended))

    def counted(self, trial: str) -> bool:
        """Whether a trial is counted already: repeating it costs nothing."""
        return trial in self._trials or trial in self._ended

    def spent(self) -> Spent:
        now = self._clock()
        held = sum((now - began) * gpus for began, gpus in self._running.values())
        seconds = self._earlier.hours * 3600 + (now - self._began if self._used else 0.0)
        return Spent(
            seconds / 3600,
            self._earlier.gpu_hours + (self._gpu_seconds + held) / 3600,
            len(self._trials | self._ended),
            sum(self._bytes.values()) / 1e9,
        )

    def reached(self) -> str:
        """Return the name of the limit on time or disk that is reached, or an empty string.

        The limit on trials is left out, as it ends no running trial.
        """
        if self._clock() - self._noted >= HEARTBEAT:
            self.note()
        return self.spent().over(self.budget.model_copy(update={"trials": None}))

    def note(self) -> None:
        """Write down what this run has used so far, if it has computed anything."""
        self._noted = self._clock()
        if not self._used:
            return
        held = sum((self._noted - began) * gpus for began, gpus in self._running.values())
        self._ledger.append(
            "run",
            id=self._id,
            seconds=round(self._noted - self._began, 3),
            gpu_seconds=round(self._gpu_seconds + held, 3),
            trials=sorted(self._ended - self._told),
        )
        self._told |= self._ended


def read_ledger(ledger: Ledger, store: Store) -> tuple[Spent, set[str], dict[str, int]]:
    """Return what earlier runs used, the trials that ended in them, and the bytes of what they made
    and is still there, by key."""
    runs: dict[str, Mapping[str, Any]] = {}
    made: dict[str, int] = {}
    trials: set[str] = set()
    for entry in ledger.entries():
        if entry["type"] == "run":
            runs[entry["id"]] = entry
            trials |= set(entry["trials"])
        elif entry["type"] == "made":
            made[entry["key"]] = entry["bytes"]
    made = {key: size for key, size in made.items() if _is_there(store, key)}
    spent = Spent(
        sum(run["seconds"] for run in runs.values()) / 3600,
        sum(run["gpu_seconds"] for run in runs.values()) / 3600,
        len(trials),
        sum(made.values()) / 1e9,
    )
    return spent, trials, made


def _is_there(store: Store, key: str) -> bool:
    artefact = store.known(key)
    return artefact is not None and not artefact.evicted


def spent_so_far(study: Study, store: Store) -> Spent:
    """Return what the study of that name on its storage has used in all its runs."""
    return read_ledger(open_storage(study.storage).ledger(study.name), store)[0]
