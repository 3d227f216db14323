"""Bringing MLflow up to what ledger and store hold: it is a view of them, and made again from them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wsss.errors import Problem, TrackingError, first_line
from wsss.pipeline.past.retell import Past, remember, retell
from wsss.pipeline.running import current_holder
from wsss.store.folder_store import Store
from wsss.store.storage import Storage, open_storage
from wsss.tracking.content.conclusion import Conclusion
from wsss.tracking.database import artifacts_folder, prepare
from wsss.tracking.refusals import describe, is_permanent
from wsss.tracking.remote.replay import MlflowReplay
from wsss.tracking.spool import Operation
from wsss.tracking.translate import Translator, in_batches

ATTEMPTS = 3
"""How often an operation is tried before the server counts as away."""


@dataclass
class Synced:
    """What came of a study: its runs, and what was added; `notes` are for people."""

    study: str
    runs: int = 0
    added: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def past_operations(past: Past, store: Store, *, running: bool = False) -> Iterator[Operation]:
    """Iterate over the operations that bring an empty server to what is known of a study."""
    translator = Translator(past.name)

    def each() -> Iterator[Operation]:
        for at, event in retell(past, store, running=running):
            yield from translator.operations(event, at)

    return in_batches(each())


def sync_study(
    storage: Storage,
    name: str,
    uri: str,
    *,
    pause: float = 1.0,
    conclude: Callable[[Past], Conclusion | None] = lambda past: None,
    write_report: Callable[[], Path | None] = lambda: None,
) -> Synced:
    """Add to a study's experiment what it lacks; what is there, and what people added, stays.

    Args:
        storage: where the study is.
        name: of the study.
        uri: of the MLflow server or database.
        pause: seconds before a server that doesn't answer is asked again.
        conclude: returns what a study came to; None without it, or where it can't be said.
        write_report: writes the study's page, when MLflow lacks what it tells; returns its file.

    Raises `TrackingError` when the server is away or the database can't be used.
    """
    past = remember(storage, name)
    result = Synced(name, notes=prepare(uri))
    by = current_holder(name, storage)
    if by:
        result.notes.append(f"{name} is being run ({by}): what it works on stays open")
    replay = MlflowReplay(uri, artifacts_folder(uri), fill=True)
    runs = set()
    for operation in past_operations(past, storage.store, running=bool(by)):
        refused = carry_out(replay, operation, uri, pause)
        if refused:
            result.notes.append(refused)
        elif operation["op"] == "run":
            runs.add(operation["run"])
    conclusion = None if by else conclude(past)
    if conclusion is not None:
        operation = conclusion.operation(None)
        if not replay.has_concluded(operation):
            operation = conclusion.operation(write_report())
        refused = carry_out(replay, operation, uri, pause)
        result.notes += [refused] if refused else []
    result.runs, result.added = len(runs), {what: count for what, count in replay.added.items() if count}
    return result


def carry_out(replay: MlflowReplay, operation: Operation, uri: str, pause: float) -> str:
    """Carry out an operation; return what the server refused. Raises `TrackingError` when it is away.

    Args:
        replay: has the connection.
        operation: what to carry out; doing so again is safe.
        uri: of the server, for the message.
        pause: seconds between two attempts.
    """
    for attempt in range(ATTEMPTS):
        try:
            replay.do(operation)
            return ""
        except Exception as error:  # whatever a server and its network can come up with
            if is_permanent(error):
                return f"the server refused {describe(operation)}: {first_line(error)}"
            if attempt == ATTEMPTS - 1:
                message = f"does not answer ({first_line(error)})"
                raise TrackingError(Problem(uri, message, "`sync` goes on where it stopped")) from error
        time.sleep(pause)
    raise AssertionError("unreachable")


class Restorer:
    """Brings back, before what a run tells live, what MLflow has lost of the study's past.

    The past is read when this is made: before the run adds anything to it.
    """

    def __init__(self, storage: Storage, name: str) -> None:
        self._location = storage.location
        self._past = remember(storage, name)
        self._restored = False
        self.study = name

    def restore(self, replay: MlflowReplay, warn: Callable[[str], None]) -> None:
        """Add everything once, if the experiment or one of the runs is missing. Raises what MLflow raises.

        What is in the bin isn't missing: somebody put it there.
        """
        if self._restored or not self._past.courses:
            return
        there = replay.statuses(self._past.name)
        operations = self._operations({} if there is None else there)
        missing = {one["run"] for one in operations if one["op"] == "run"} - (there or {}).keys()
        if missing:
            warn(f"MLflow lacks {len(missing)} runs of {self._past.name}: made again from ledger and store")
            self._fill(replay, operations, warn)
        self._restored = True

    def close_left_open(self, replay: MlflowReplay, warn: Callable[[str], None]) -> None:
        """End the runs that were left open when the study's last run was killed."""
        there = replay.statuses(self._past.name) or {}
        if self._past.courses and "RUNNING" in there.values():
            operations = self._operations(there)
            ends = [one for one in operations if one["op"] == "end" and there.get(one["run"]) == "RUNNING"]
            self._fill(replay, ends, warn)

    def _operations(self, there: Mapping[str, str]) -> list[Operation]:
        store = open_storage(self._location).store  # of this thread's own
        return [
            one for one in past_operations(self._past, store) if there.get(one.get("run", "")) != "DELETED"
        ]

    def _fill(self, replay: MlflowReplay, operations: list[Operation], warn: Callable[[str], None]) -> None:
        replay.fill = True
        try:
            for operation in operations:
                try:
                    replay.do(operation)
                except Exception as error:
                    if not is_permanent(error):
                        raise
                    warn(f"the server refused {describe(operation)}: {first_line(error)}")
        finally:
            replay.fill = False
