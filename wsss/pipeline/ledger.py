"""The ledger: a study's append-only record of every sampled configuration and every trial's end.

One JSON object a line, flushed to disk before the trial starts and when it ends. Only the driver
writes it. A line cut short by a crash is passed over and the rest still counts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wsss.files import writing


@dataclass
class TrialRecord:
    """What the ledger knows of one trial. `keys` maps a chain's labels to artefact keys."""

    id: str
    sweep: str
    arm: str
    seed: int
    params: dict[str, Any]
    configuration: str
    upstream: str
    method: str
    backbone: str
    keys: dict[str, str]
    status: str = "started"
    metrics: dict[str, float] = field(default_factory=dict)
    error: str = ""
    seconds: float = 0.0
    kept: bool = False
    reason: str = ""
    """Why it was stopped."""
    rungs: list[tuple[int, float]] = field(default_factory=list)
    """(epoch, rung score) of the classifier that a scheduler judged."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """Population-based training: {"epoch", "params", "parent"} of every part of its classifier."""

    def is_same(self, other: TrialRecord) -> bool:
        """Whether what ended as the one may count as the end of the other."""
        mine = (self.keys, self.configuration, self.history)
        return mine == (other.keys, other.configuration, other.history)


class Ledger:
    """The file `<study folder>/ledger.jsonl`, read whole, written line by line."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.jsonl"

    def append(self, kind: str, **content: Any) -> None:
        """Write one entry and wait until it is kept. Raises `StorageError` when it can't be."""
        entry = {"type": kind, "time": datetime.now(UTC).isoformat(timespec="milliseconds"), **content}
        self._write(json.dumps(entry, sort_keys=True, allow_nan=False))

    def _write(self, line: str) -> None:
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as file:
                if file.seek(0, os.SEEK_END):
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":  # a crash or a full disk cut the last line short
                        line = f"\n{line}"
                file.write(f"{line}\n".encode())
                file.flush()
                os.fsync(file.fileno())

    def exists(self) -> bool:
        """Whether anything was ever written."""
        return self.path.is_file()

    def stamp(self) -> Hashable:
        """Return what changes when entries come to it."""
        try:
            facts = self.path.stat()
        except OSError:
            return None
        return facts.st_size, facts.st_mtime_ns

    def _lines(self) -> Iterable[str]:
        """Return the entries as they were written, oldest first."""
        return self.path.read_text(errors="replace").splitlines() if self.path.exists() else ()

    def entries(self) -> Iterator[Mapping[str, Any]]:
        """Iterate over the entries that can be read, oldest first."""
        for line in self._lines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and "type" in entry:
                yield entry

    def trials(self) -> dict[str, TrialRecord]:
        """Return the trials by id, in the order in which they were first sampled."""
        trials: dict[str, TrialRecord] = {}
        for entry in self.entries():
            if entry["type"] == "trial":
                fields = {name: entry[name] for name in TrialRecord.__dataclass_fields__ if name in entry}
                trial, before = TrialRecord(**fields), trials.get(entry["id"])
                if before is None or not before.is_same(trial):  # else it is only begun again
                    trials[entry["id"]] = trial
            elif entry["type"] == "end" and entry["id"] in trials:
                trial = trials[entry["id"]]
                trial.status = entry["status"]
                trial.metrics = dict(entry["metrics"])
                trial.error = entry["error"]
                trial.seconds += entry["seconds"]
                trial.reason = entry.get("reason", "")
                trial.rungs = [(int(epoch), float(score)) for epoch, score in entry.get("rungs", ())]
            elif entry["type"] == "kept":
                for trial in trials.values():
                    if trial.sweep == entry["sweep"]:
                        trial.kept = trial.id in entry["ids"]
        return trials
