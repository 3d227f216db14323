"""From what happens in a study to runs, parameters, metrics and files in MLflow.

The driver alone talks to MLflow, from a background thread, through a spool on disk: a server that is
slow, away or restarted holds nothing up and loses nothing. What the server has lost of the study's past is
made again from ledger and store first.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from wsss.addresses import scrub, shown
from wsss.errors import TrackingError, first_line
from wsss.pipeline.events import Event
from wsss.store.storage import Storage
from wsss.tracking.content.conclusion import Conclusion
from wsss.tracking.database import artifacts_folder, prepare
from wsss.tracking.location import runs_page
from wsss.tracking.refusals import describe, is_permanent
from wsss.tracking.remote.replay import MlflowReplay
from wsss.tracking.spool import Operation, Spool
from wsss.tracking.sync import Restorer
from wsss.tracking.translate import Translator

FLUSH_SECONDS = 60.0
QUIET_SECONDS = 20.0
"""How long, at the end, a server is waited for that takes nothing."""
LONGEST_PAUSE = 30.0


def warn_on_stderr(text: str) -> None:
    print(f"tracking: {text}", file=sys.stderr)


class MlflowTracker:
    """An observer that writes to MLflow. `on_event` never raises and never waits for the server.

    Args:
        uri: of the MLflow server or database.
        study_folder: this machine's folder for the study; the spool is kept in it.
        storage: where the study's past is read from, to bring back what MLflow lost; None: it isn't.
        warn: called with every line for people, from the background thread too.
    """

    def __init__(
        self,
        uri: str,
        study_folder: Path,
        *,
        storage: Storage | None = None,
        warn: Callable[[str], None] = warn_on_stderr,
    ) -> None:
        self._uri = uri
        self._shown = shown(uri)
        self._tell = warn
        self._root = study_folder.parent.parent
        self._past = None if storage is None else self._remember(storage, study_folder.name)
        self._spool = Spool(study_folder / "tracking")
        self._translator = Translator(study_folder.name)
        self._experiment = ""
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._replay, name="mlflow", daemon=True)
        self._thread.start()

    def _remember(self, storage: Storage, study: str) -> Restorer | None:
        try:
            return Restorer(storage, study)
        except Exception as error:  # what the driver can't do without, it reads itself
            self._warn(f"the ledger of {study} can't be retold: {first_line(error)}")
            return None

    def on_event(self, event: Event) -> None:
        try:
            for operation in self._translator.operations(event, int(time.time() * 1000)):
                self._spool.put(operation)
        except Exception as error:  # a study outlives its audience
            self._warn(f"an event was not recorded: {error}")

    def conclude(self, conclusion: Conclusion, report: Path | None) -> None:
        """Let MLflow know what the study came to. `report` is a page that was written."""
        try:
            self._spool.put(conclusion.operation(report))
        except Exception as error:
            self._warn(f"what the study came to was not recorded: {first_line(error)}")

    @property
    def page(self) -> str:
        """The address of the study's runs on a server; empty for a database, and before it has answered."""
        if not self._experiment or not self._uri.startswith("http"):
            return ""
        return runs_page(self._shown, self._experiment)

    def close(self, seconds: float = FLUSH_SECONDS) -> None:
        """Wait up to `seconds` for the server to take everything; the rest stays in the spool."""
        if not self._spool.wait_until_empty(seconds, QUIET_SECONDS):
            self._warn(f"{self._shown} has not taken everything; the rest goes out when the study runs again")
        self._closing.set()
        self._spool.wake()
        self._thread.join(timeout=5)
        self._spool.close()

    def _warn(self, text: str) -> None:
        self._tell(scrub(text))  # libraries repeat what they were given

    def _replay(self) -> None:
        """The background thread: carry out what is spooled, in order, for as long as it takes."""
        replay: MlflowReplay | None = None
        past = self._past
        pause, told = 0.5, False
        while not self._closing.is_set():
            operation = self._spool.next(timeout=0.5)
            if operation is None:
                continue
            try:
                if replay is None:
                    for note in prepare(self._uri):
                        self._warn(note)
                    replay = MlflowReplay(self._uri, artifacts_folder(self._uri))
                past = self._bring_back(past, replay)
                replay.do(self._where_it_is(operation))
                self._experiment = replay.experiment
                pause, told = 0.5, False
            except Exception as error:  # whatever a server and its network can come up with
                if not is_permanent(error):
                    if not told:
                        said = f"{self._shown} does not answer ({first_line(error)}); trying again"
                        self._warn(str(error) if isinstance(error, TrackingError) else said)
                    told = True
                    self._closing.wait(pause)
                    pause = min(2 * pause, LONGEST_PAUSE)
                    continue
                self._warn(f"the server refused {describe(operation)}: {first_line(error)}")
            self._spool.done(operation)

    def _bring_back(self, past: Restorer | None, replay: MlflowReplay) -> Restorer | None:
        """Restore what is lost, then, once the spool of earlier runs is out, end what they left open.

        Returns what is left to do it with. Raises what passes when it is tried again.
        """
        if past is None:
            return None
        try:
            past.restore(replay, self._warn)
            if self._spool.inherited:
                return past
            past.close_left_open(replay, self._warn)
        except Exception as error:
            if not is_permanent(error):
                raise
            self._warn(f"not all of {past.study} was brought back: {first_line(error)}; `sync` tries again")
        return None

    def _where_it_is(self, operation: Operation) -> Operation:
        """Return an operation whose files are named where they lie now: their storage may have been moved."""
        if operation["op"] == "file":
            return {**operation, "file": self._moved(operation["file"])}
        if operation["op"] == "conclude":
            files = {name: self._moved(file) for name, file in operation["files"].items()}
            winner = operation["winner"]
            if winner is not None:
                own = {name: self._moved(file) for name, file in winner["files"].items()}
                winner = {**winner, "files": own}
            return {**operation, "files": files, "winner": winner}
        return operation

    def _moved(self, file: str) -> str:
        path = Path(file)
        folder = next((name for name in ("store", "studies") if name in path.parts), "")
        if path.is_file() or not folder:
            return file
        last = len(path.parts) - 1 - path.parts[::-1].index(folder)
        return str(self._root.joinpath(*path.parts[last:]))
