"""The ledger: a study's append-only record of every sampled configuration and every trial's end.

One JSON object a line, with its own checksum, flushed to disk before the trial starts and when it ends.
Only the driver writes it. A line that was cut short or has changed is passed over, which is said once, and
the rest still counts; the last one may have been cut by a crash, and nothing is said of it.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wsss.errors import Problem, StorageError
from wsss.files import make_folder, stamp_of, storage_error, sync, with_checksum, writing
from wsss.store.records import TrialEntry, parse_entry, say_once

LEDGER = "ledger.jsonl"
MOST_LINE = 16 * 1024**2
"""Bytes of the longest line that is read."""
KEY = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


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
    earlier: list[TrialRecord] = field(default_factory=list)
    """What it was before it went on from another member's state: that was trained, too."""
    began: str = ""
    """When it was first written down: UTC, as ISO 8601."""

    def follow(self, before: TrialRecord) -> None:
        """Take the place of what a population had decided of the same member before."""
        if before.history:
            self.earlier = [*before.earlier, replace(before, earlier=[])]

    def is_same(self, other: TrialRecord) -> bool:
        """Whether what ended as the one may count as the end of the other."""
        mine = (self.keys, self.configuration, self.history)
        return mine == (other.keys, other.configuration, other.history)


class Ledger:
    """The file `<study folder>/ledger.jsonl`, read whole, written line by line."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LEDGER

    def append(self, kind: str, **content: Any) -> None:
        """Write one entry and wait until it is kept. Raises `StorageError` when it can't be."""
        entry = {"type": kind, "time": datetime.now(UTC).isoformat(timespec="milliseconds"), **content}
        self._write(json.dumps(with_checksum(entry), sort_keys=True, allow_nan=False))

    def _write(self, line: str) -> None:
        with writing(self.path):
            make_folder(self.path.parent)
            is_new = not self.path.exists()
            with self.path.open("ab+") as file:
                if file.seek(0, os.SEEK_END):
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":  # a crash or a full disk cut the last line short
                        line = f"\n{line}"
                file.write(f"{line}\n".encode())
                file.flush()
                os.fsync(file.fileno())
            if is_new:
                sync(self.path.parent)

    def exists(self) -> bool:
        """Whether anything was ever written."""
        return self.path.is_file()

    def stamp(self) -> Hashable:
        """Return what changes when entries come to it."""
        return stamp_of(self.path)

    def _lines(self) -> Iterator[tuple[str, bytes]]:
        """Iterate over (where, line) as they were written, oldest first."""
        try:
            if not stat.S_ISREG(self.path.stat().st_mode):
                raise StorageError(Problem(str(self.path), "is no file, but must be one", "move it away"))
            with self.path.open("rb") as file:
                number = 0
                while line := file.readline(MOST_LINE):
                    number += 1
                    rest = line
                    while len(rest) == MOST_LINE and not rest.endswith(b"\n"):  # of one that is too long
                        rest = file.readline(MOST_LINE)
                    yield f"line {number}", line if rest is line else line + b"\n"
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise storage_error(self.path, error, what="read") or error from error

    def _read(self) -> tuple[list[dict[str, Any]], list[bytes]]:
        """Return the entries, and the lines that can't be read; say once which these are."""
        entries, bad, reasons = [], [], []
        for where, line in self._lines():
            try:
                entries.append(parse_entry(line))
            except ValueError as error:
                bad.append(line)
                if line.endswith(b"\n"):  # else a crash has cut the last one, or somebody is writing it
                    reasons.append(f"{where} ({error})")
        if reasons:
            more = f" and {len(reasons) - 3} more" if len(reasons) > 3 else ""
            say_once(self._name(), f"can't be read and is passed over: {', '.join(reasons[:3])}{more}")
        return entries, bad

    def _name(self) -> str:
        return str(self.path)

    def entries(self) -> Iterator[Mapping[str, Any]]:
        """Iterate over the entries that can be read, oldest first. Raises `StorageError` when none can."""
        return iter(self._read()[0])

    def mentions(self, keys: Collection[str]) -> bool:
        """Whether any line holds one of these keys."""
        wanted = {key.encode() for key in keys}
        return any(not wanted.isdisjoint(KEY.findall(line)) for _, line in self._lines())

    def unreadable_keys(self) -> set[str]:
        """Return the keys that stand in lines which can't be read, and in no trial: what they say of them is
        unknown, so that nobody should delete what these keys stand for."""
        entries, bad = self._read()
        known = {key for entry in entries if entry["type"] == "trial" for key in entry["keys"].values()}
        return {key.decode() for line in bad for key in KEY.findall(line)} - known

    def is_lost(self) -> bool:
        """Whether something was written, but neither an entry nor a key of it can be read: a power cut may
        leave nothing but zeros. Nobody knows then what the study needs."""
        entries, bad = self._read()
        return not entries and any(line.strip() for line in bad) and not any(map(KEY.search, bad))

    def trials(self) -> dict[str, TrialRecord]:
        """Return the trials by id, in the order in which they were first sampled."""
        return trials_of(self.entries())


def trials_of(entries: Iterable[Mapping[str, Any]]) -> dict[str, TrialRecord]:
    """Return the trials that a ledger's entries tell of, by id, in the order in which they were first
    sampled."""
    trials: dict[str, TrialRecord] = {}
    for entry in entries:
        if entry["type"] == "trial":
            fields = {name: entry[name] for name in TrialEntry.model_fields}
            trial = TrialRecord(**fields, began=str(entry.get("time", "")))
            before = trials.get(entry["id"])
            if before is None or not before.is_same(trial):  # else it is only begun again
                trials[entry["id"]] = trial
                if before is not None:
                    trial.follow(before)
        elif entry["type"] == "end" and entry["id"] in trials:
            trial = trials[entry["id"]]
            trial.status = entry["status"]
            trial.metrics = dict(entry["metrics"])
            trial.error = entry["error"]
            trial.seconds += entry["seconds"]
            trial.reason = entry["reason"]
            trial.rungs = [(int(epoch), float(score)) for epoch, score in entry["rungs"]]
        elif entry["type"] == "kept":
            for trial in trials.values():
                if trial.sweep == entry["sweep"]:
                    trial.kept = trial.id in entry["ids"]
    return trials
