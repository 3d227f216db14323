"""What a person sees while a study runs: one live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from wsss.pipeline.events import (
    Event,
    GpuWaiting,
    Moving,
    Observer,
    PreflightDone,
    SharedEnded,
    StageFinished,
    StageSaid,
    StageWaiting,
    StudyFinished,
    StudyStarted,
    SweepFinished,
    SweepStarted,
    TrialFinished,
    TrialInfo,
    TrialProgress,
    TrialStarted,
)
from wsss.pipeline.forecasts.preflight import Check

RECENT = 8
BAR = 12
SAID = 48
"""Characters of a program's last line."""
ENDED = ("done", "found", "failed", "stopped")


def live_view(*, json: bool = False) -> Observer:
    """Return the table for a terminal, lines for a file or a pipe, lines on stderr for `--json`."""
    console = Console(stderr=json)
    return LiveTable(console) if console.is_terminal else Lines(console)


def describe_metrics(metrics: dict[str, float]) -> str:
    """Return the few metrics of a step that fit a line."""
    names = [name for name in ("loss", "mAP", "rung_score") if name in metrics]
    size = f" at {metrics['mAP_size']:.0f} px" if "mAP_size" in metrics else ""
    return "  ".join(f"{name} {metrics[name]:.3f}{size if name == 'mAP' else ''}" for name in names)


def duration(seconds: float) -> str:
    """Return seconds as people read them: 42s, 3m 05s, 2h 10m."""
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"


STATES = {"ok": "green", "note": "yellow", "bad": "bold red"}


def checks_table(checks: Sequence[Check]) -> Table:
    """Return one row for everything that was looked at, the way out below what is bad."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="before anything starts", title_justify="left")
    for name in ("", "what", "found"):
        table.add_column(name)
    for check in checks:
        found = f"{check.found}\n{check.hint}" if check.state == "bad" and check.hint else check.found
        table.add_row(Text(check.state, style=STATES[check.state]), Text(check.what), Text(found))
    return table


class Lines:
    """A line an event, with the time since the start."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._start = time.monotonic()
        self._waits: set[tuple[str, str]] = set()
        self._said: dict[str, str] = {}

    def _say(self, text: str) -> None:
        spent = duration(time.monotonic() - self._start)
        self._console.print(f"{spent:>8}  {text}", markup=False, highlight=False, soft_wrap=True)

    def on_event(self, event: Event) -> None:
        if isinstance(event, StudyStarted):
            self._say(f"study {event.name}")
        elif isinstance(event, PreflightDone):
            for check in event.checks:
                self._say(f"{check.state:<4}  {check.what}: {check.found}")
        elif isinstance(event, SweepStarted):
            chosen = f", best by {event.metric}" if event.metric else ""
            self._say(f"sweep {event.sweep}: {max(event.total, len(event.trials))} trials{chosen}")
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
            self._say(f"{event.trial}  waits {_for_what(event)}")
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


@dataclass
class _TrialRow:
    info: TrialInfo | None
    stage: str = ""
    step: int = 0
    steps: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    stage_began: float = 0.0
    began: float = 0.0
    ended: float = 0.0
    score: float | None = None
    state: str = "waiting"
    reason: str = ""
    said: str = ""


class LiveTable:
    """One table that is redrawn: running trials, the last that ended, the best so far."""

    def __init__(self, console: Console) -> None:
        self._rows: dict[str, _TrialRow] = {}
        self._title = ""
        self._metric = ""
        self._total = 0
        self._start = time.monotonic()
        self._live = Live(self._table(), console=console, refresh_per_second=4, transient=True)
        self._live.start()

    def on_event(self, event: Event) -> None:
        now = time.monotonic()
        if isinstance(event, StudyStarted):
            self._title = event.name
        elif isinstance(event, PreflightDone):
            self._live.console.print(checks_table(event.checks))  # stays above the table that is redrawn
        elif isinstance(event, SweepStarted):
            self._metric = event.metric
            self._title = f"{self._title.split(' · ')[0]} · {event.sweep}"
            self._rows = {trial.id: _TrialRow(trial) for trial in event.trials}
            self._total = event.total
        elif isinstance(event, TrialStarted):
            row = self._rows.setdefault(event.trial.id, _TrialRow(event.trial))
            row.state, row.began = "running", now
        elif isinstance(event, TrialProgress):
            row = self._rows.setdefault(event.trial, _TrialRow(None, began=now))
            if row.stage != event.stage:
                row.stage, row.stage_began = event.stage, row.stage_began if row.step == 0 else now
            row.state = "running"
            row.step, row.steps, row.metrics = event.step, event.steps, dict(event.metrics)
        elif isinstance(event, StageSaid):
            row = self._rows.setdefault(event.trial, _TrialRow(None, began=now))
            row.stage, row.state, row.said = event.stage, "running", event.text
        elif isinstance(event, StageWaiting):
            row = self._rows.setdefault(event.trial, _TrialRow(None, began=now))
            row.stage, row.state = f"{event.stage} (waits for another run)", "running"
        elif isinstance(event, GpuWaiting):
            row = self._rows.setdefault(event.trial, _TrialRow(None, began=now))
            row.stage, row.state = f"waits {event.reason}", "running"
        elif isinstance(event, Moving):
            row = self._rows.setdefault(event.trial, _TrialRow(None, began=now))
            row.stage, row.state = f"waits {_for_what(event)}", "running"
        elif isinstance(event, StageFinished):
            row = self._rows.setdefault(event.trial, _TrialRow(None, began=now))
            row.stage, row.step, row.stage_began, row.said = event.stage, 0, now, ""
            if row.info is None:  # work that several trials share has no end of its own
                del self._rows[event.trial]
        elif isinstance(event, SharedEnded):
            self._rows.pop(event.job, None)
        elif isinstance(event, TrialFinished):
            row = self._rows.setdefault(event.trial.id, _TrialRow(event.trial))
            row.state = "found" if event.status == "done" and event.cached else event.status
            row.reason = event.reason
            row.score, row.ended = event.metrics.get(self._metric), now
        elif isinstance(event, StudyFinished):
            self._live.update(Text(""))
            return
        self._live.update(self._table())

    def close(self) -> None:
        self._live.stop()

    def _table(self) -> Table:
        table = Table(title=self._title or None, caption=self._caption(), expand=False, title_justify="left")
        for name in ("trial", "arm", "stage"):
            table.add_column(name, no_wrap=True)
        table.add_column("progress", no_wrap=True)
        table.add_column(self._metric or "metrics", no_wrap=True)
        table.add_column("left", justify="right", no_wrap=True)
        running = [item for item in self._rows.items() if item[1].state == "running"]
        ended = [item for item in self._rows.items() if item[1].state in ENDED]
        ended.sort(key=lambda item: item[1].ended)
        for name, row in ended[-RECENT:]:
            style = "red" if row.state == "failed" else "dim"
            score = "" if row.score is None else f"{100 * row.score:.1f}"
            arm = row.info.arm if row.info else ""
            table.add_row(name, arm, row.state, "", row.reason or score, "", style=style)
        for name, row in running:
            table.add_row(
                name,
                row.info.arm if row.info else "shared",
                row.stage,
                _bar(row.step, row.steps),
                describe_metrics(row.metrics) or row.said[:SAID],
                self._left(row),
            )
        return table

    @staticmethod
    def _left(row: _TrialRow) -> str:
        if not row.step:
            return ""
        spent = time.monotonic() - (row.stage_began or row.began)
        return duration(spent / row.step * (row.steps - row.step))

    def _caption(self) -> str:
        states = [row.state for row in self._rows.values() if row.info is not None]
        done = sum(state in ENDED for state in states)
        total = max(self._total, len(states))
        parts = [f"{done} of {total} trials", f"{duration(time.monotonic() - self._start)} spent"]
        stopped = states.count("stopped")
        if stopped:
            parts.insert(1, f"{stopped} stopped")
        scores = [
            (row.score, name)
            for name, row in self._rows.items()
            if row.score is not None and row.state != "stopped"
        ]
        if scores:
            best, name = max(scores)
            parts.append(f"best {100 * best:.1f} ({name})")
        lengths = [row.ended - row.began for row in self._rows.values() if row.state == "done"]
        running = sum(state == "running" for state in states)
        if lengths and running:
            left = sum(lengths) / len(lengths) * (total - done - running / 2) / running
            parts.append(f"about {duration(left)} left")
        return " · ".join(parts)


def _for_what(event: Moving) -> str:
    return f"for {'a GPU' if event.gpu else 'CPUs beside the GPU'}: {event.stage}"


def _bar(step: int, steps: int) -> str:
    if not steps:
        return "starting"
    filled = round(BAR * step / steps)
    return f"{'━' * filled}{'─' * (BAR - filled)} {step}/{steps}"
