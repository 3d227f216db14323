"""What a file or a pipe gets while a study runs: a line an event."""

from __future__ import annotations

import time

from rich.console import Console

from wsss.launch.words import describe_metrics, describe_values, duration
from wsss.pipeline.events import (
    Event,
    GpuWaiting,
    Moving,
    PreflightDone,
    StageFinished,
    StageSaid,
    StageWaiting,
    StudyStarted,
    SweepFinished,
    SweepStarted,
    TrialFinished,
    TrialProgress,
    TrialStarted,
)


class Lines:
    """A line an event, with the time since the start."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._start = time.monotonic()
        self._waits: set[tuple[str, str]] = set()
        self._said: dict[str, str] = {}

    def _say(self, text: str) -> None:
        spent = duration(time.monotonic() - self._start)
        self._console.print(f"{spent:>8}  {text}", markup=False, emoji=False, highlight=False, soft_wrap=True)

    def on_event(self, event: Event) -> None:
        if isinstance(event, StudyStarted):
            self._say(f"study {event.name}")
        elif isinstance(event, PreflightDone):
            for check in event.checks:
                self._say(f"{check.state:<4}  {check.what}: {check.found}")
        elif isinstance(event, SweepStarted):
            chosen = f", best by {event.metric}" if event.metric else ""
            self._say(f"sweep {event.sweep}: {max(event.total, len(event.trials))} trials{chosen}")
        elif isinstance(event, TrialStarted):
            if event.trial.params:
                self._say(f"{event.trial.id}  starts with {describe_values(event.trial.params)}")
        elif isinstance(event, TrialProgress):
            metrics = describe_metrics(dict(event.metrics))
            self._say(f"{event.trial}  {event.stage}  {event.step}/{event.steps}  {metrics}")
        elif isinstance(event, StageWaiting):
            if (event.trial, event.key) not in self._waits:
                self._waits.add((event.trial, event.key))
                self._say(f"{event.trial}  waiting for {event.stage}, made by another run ({event.holder})")
        elif isinstance(event, GpuWaiting):
            told = event.reason.partition(":")[0]  # the share changes
            if (event.trial, told) not in self._waits:
                self._waits.add((event.trial, told))
                self._say(f"{event.trial}  waits {event.reason}")
        elif isinstance(event, Moving):
            self._say(f"{event.trial}  waits {event.reason}")
        elif isinstance(event, StageSaid):
            if event.text and self._said.get(event.trial) != event.text:
                self._said[event.trial] = event.text
                self._say(f"{event.trial}  {event.stage}  | {event.text}")
        elif isinstance(event, StageFinished):
            how = "found in the storage" if event.cached else f"made in {duration(event.seconds)}"
            self._say(f"{event.trial}  {event.stage}  {how}")
        elif isinstance(event, TrialFinished):
            result = f"FAILED: {event.error}" if event.status == "failed" else event.status
            because = f": {event.reason}" if event.reason else ""
            self._say(f"{event.trial.id}  {result}{because}")
        elif isinstance(event, SweepFinished):
            self._say(f"sweep {event.sweep}: kept {', '.join(event.kept) or 'nothing'}")

    def close(self) -> None: ...
