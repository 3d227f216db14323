"""From what happens in a study to runs, parameters, metrics and files in MLflow.

experiment = study, parent run = sweep, child run = trial. The driver alone talks to MLflow, from a
background thread, through a spool on disk: a server that is slow, away or restarted holds nothing up
and loses nothing.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wsss.addresses import scrub, shown
from wsss.pipeline.events import (
    Event,
    StageFinished,
    StudyFinished,
    StudyStarted,
    SweepFinished,
    SweepStarted,
    TrialFinished,
    TrialInfo,
    TrialProgress,
    TrialStarted,
)
from wsss.tracking.client import MlflowReplay, is_permanent
from wsss.tracking.location import ARTIFACTS
from wsss.tracking.spool import Operation, Spool

FLUSH_SECONDS = 60.0
QUIET_SECONDS = 20.0
"""How long, at the end, a server is waited for that takes nothing."""
LONGEST_PAUSE = 30.0
RUN_STATUS = {"done": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
STEP_METRICS = ("loss", "mAP", "rung_score", "lr", "images_per_second")


def warn_on_stderr(text: str) -> None:
    print(f"tracking: {text}", file=sys.stderr)


class MlflowTracker:
    """An observer that writes to MLflow. `on_event` never raises and never waits for the server."""

    def __init__(self, uri: str, study_folder: Path, *, warn: Callable[[str], None] = warn_on_stderr) -> None:
        self._uri = uri
        self._shown = shown(uri)
        self._tell = warn
        self._spool = Spool(study_folder / "tracking")
        self._study = study_folder.name
        self._config = ""
        self._sweep = ""
        self._metric = ""
        self._sweep_reopened = False
        self._open: dict[str, TrialInfo] = {}
        self._opened: set[str] = set()
        self._scores: dict[str, dict[str, float]] = {}
        self._files: dict[str, dict[str, str]] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._replay, name="mlflow", daemon=True)
        self._thread.start()

    def on_event(self, event: Event) -> None:
        try:
            self._handle(event)
        except Exception as error:  # a study outlives its audience
            self._warn(f"an event was not recorded: {error}")

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

    def _put(self, op: str, **content: Any) -> None:
        self._spool.put({"op": op, "study": self._study, **content})

    def _handle(self, event: Event) -> None:
        if isinstance(event, StudyStarted):
            self._study, self._config = event.name, event.config
            self._put("experiment", name=event.name)
        elif isinstance(event, SweepStarted):
            self._sweep, self._metric = event.sweep, event.metric
            self._scores.clear()
            self._open_sweep(cached=True)
        elif isinstance(event, TrialStarted):
            self._open[event.trial.id] = event.trial
        elif isinstance(event, TrialProgress):
            self._progress(event)
        elif isinstance(event, StageFinished):
            if event.trial in self._open and not event.cached:
                self._open_trial(self._open[event.trial], cached=False)
        elif isinstance(event, TrialFinished):
            self._finish_trial(event)
        elif isinstance(event, SweepFinished):
            self._finish_sweep(event)
        elif isinstance(event, StudyFinished) and event.interrupted:
            for trial in self._open:
                if f"trial:{trial}" in self._opened:
                    self._put("end", run=f"trial:{trial}", status="KILLED")
            if self._sweep:
                self._put("end", run=f"sweep:{self._sweep}", status="KILLED")

    def _open_sweep(self, *, cached: bool) -> None:
        self._sweep_reopened = not cached
        run = f"sweep:{self._sweep}"
        tags = {"wsss.sweep": self._sweep, "wsss.metric": self._metric}
        self._put("run", run=run, name=self._sweep, parent="", tags=tags, params={}, cached=cached)
        self._put("text", run=run, path="config.yaml", text=self._config)

    def _open_trial(self, info: TrialInfo, *, cached: bool) -> None:
        run = f"trial:{info.id}"
        if run in self._opened:
            return
        self._opened.add(run)
        if not cached and not self._sweep_reopened:
            self._open_sweep(cached=False)  # found finished, but not all of it was
        tags = {
            "wsss.trial": info.id,
            "wsss.arm": info.arm,
            "wsss.sweep": info.sweep,
            "wsss.seed": str(info.seed),
        }
        if info.upstream:
            tags["wsss.upstream"] = info.upstream
        fixed = {"arm": info.arm, "method": info.method, "backbone": info.backbone, "seed": info.seed}
        params = {name: value for name, value in {**info.params, **fixed}.items() if value != ""}
        parent = f"sweep:{info.sweep}"
        self._put("run", run=run, name=info.id, parent=parent, tags=tags, params=params, cached=cached)
        self._put("text", run=run, path="config.yaml", text=self._config)

    def _progress(self, event: TrialProgress) -> None:
        if event.trial not in self._open:
            return  # work that several trials share has no run of its own
        self._open_trial(self._open[event.trial], cached=False)
        chosen = {
            f"{event.stage}/{name}": value
            for name, value in event.metrics.items()
            if name in STEP_METRICS or name.startswith(("loss/", "gradient/"))
        }
        if chosen:
            self._metrics(f"trial:{event.trial}", chosen, event.step)

    def _metrics(self, run: str, values: dict[str, float], step: int) -> None:
        self._put("metrics", run=run, values=values, step=step, time=int(time.time() * 1000))

    def _finish_trial(self, event: TrialFinished) -> None:
        info, run = event.trial, f"trial:{event.trial.id}"
        self._open_trial(info, cached=event.cached)
        self._open.pop(info.id, None)
        if event.status == "done":
            self._scores[info.id] = dict(event.metrics)
            self._files[info.id] = dict(event.files)
        values = dict(event.metrics)
        for score, classes in event.per_class.items():
            values.update({f"{score}/iou/{name}": value for name, value in classes.items()})
        if values:
            self._metrics(run, values, 0)
        for name, path in event.files.items():
            self._put("file", run=run, path=name, file=path)
        if event.error:
            self._put("tags", run=run, values={"wsss.error": event.error[-4000:]})
        if event.reason:
            self._put("tags", run=run, values={"wsss.stopped": event.reason})
        self._put("end", run=run, status=RUN_STATUS[event.status])

    def _finish_sweep(self, event: SweepFinished) -> None:
        run = f"sweep:{event.sweep}"
        scored = {trial: scores for trial, scores in self._scores.items() if self._metric in scores}
        if scored:
            best = max(scored, key=lambda trial: scored[trial][self._metric])
            self._metrics(run, {f"best/{self._metric}": scored[best][self._metric]}, len(scored))
            self._put("tags", run=run, values={"wsss.best_trial": best})
            checkpoints = [name for name in self._files[best] if name.endswith(".safetensors")]
            if checkpoints:  # of the chain's last classifier
                self._put("register", run=f"trial:{best}", model=f"wsss-{self._study}", path=checkpoints[-1])
        self._put("end", run=run, status="FINISHED")
        self._sweep = ""

    def _replay(self) -> None:
        """The background thread: carry out what is spooled, in order, for as long as it takes."""
        replay: MlflowReplay | None = None
        pause, told = 0.5, False
        while not self._closing.is_set():
            operation = self._spool.next(timeout=0.5)
            if operation is None:
                continue
            try:
                replay = replay or MlflowReplay(self._uri, artifacts_folder(self._uri))
                replay.do(operation)
                pause, told = 0.5, False
            except Exception as error:  # whatever a server and its network can come up with
                if not is_permanent(error):
                    if not told:
                        self._warn(f"{self._shown} does not answer ({first_line(error)}); trying again")
                    told = True
                    self._closing.wait(pause)
                    pause = min(2 * pause, LONGEST_PAUSE)
                    continue
                self._warn(f"the server refused {describe(operation)}: {first_line(error)}")
            self._spool.done(operation)


def artifacts_folder(uri: str) -> Path | None:
    """Return where files go when MLflow is an sqlite file: beside it. A server decides for itself."""
    if not uri.startswith("sqlite:///"):
        return None
    return Path(uri.removeprefix("sqlite:///")).parent / ARTIFACTS


def first_line(error: BaseException) -> str:
    return scrub((str(error).splitlines() or [type(error).__name__])[0])[:200]


def describe(operation: Operation) -> str:
    return f"`{operation['op']}` of {operation.get('run') or operation.get('name')}"
