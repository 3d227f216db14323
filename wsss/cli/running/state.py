"""What a watcher knows of a running study, from its events: pure bookkeeping, no drawing."""

from __future__ import annotations

from dataclasses import dataclass, field

from wsss.pipeline.events import (
    Event,
    GpuWaiting,
    Moving,
    SharedEnded,
    StageFinished,
    StageSaid,
    StageWaiting,
    StepPart,
    StudyStarted,
    SweepStarted,
    TrialFinished,
    TrialInfo,
    TrialProgress,
    TrialStarted,
)

ENDED = ("done", "found", "failed", "stopped")


@dataclass
class TrialRow:
    """One trial, or work that several share (`info` is None then). Times are seconds of one clock.

    `step` of `steps` are done, and `part` of `parts` of the next one; `heard` is when the trial last said so.
    When the stage began, `base` steps were done.
    """

    info: TrialInfo | None
    stage: str = ""
    step: int = 0
    steps: int = 0
    part: int = 0
    parts: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    base: float = 0.0
    stage_began: float = 0.0
    began: float = 0.0
    heard: float = 0.0
    ended: float = 0.0
    score: float | None = None
    state: str = "waiting"
    said: str = ""

    @property
    def done(self) -> float:
        """Steps done, the parts of the next one counted."""
        return self.step + (self.part / self.parts if self.parts else 0.0)

    def enter(self, stage: str, now: float) -> None:
        """Turn to a stage, unless it is the one at hand."""
        self.state = "running"
        if self.stage != stage:
            if self.step or self.part:  # else it has begun when the trial did, or when the last one ended
                self.stage_began = now
            self.stage, self.metrics, self.said = stage, {}, ""
            self.step = self.steps = self.part = self.parts = 0

    def left(self, now: float) -> float | None:
        """Return the seconds to the stage's end, at the pace so far; None before anything is done."""
        if not self.steps or self.done <= self.base or self.heard <= self.stage_began:
            return None
        pace = (self.heard - self.stage_began) / (self.done - self.base)
        return max(0.0, pace * (self.steps - self.done) - (now - self.heard))


class State:
    """The sweep that runs, its trials, and what is left of it."""

    def __init__(self, now: float) -> None:
        self.study = self.sweep = self.metric = ""
        self.rows: dict[str, TrialRow] = {}
        self.start = now
        self._total = 0

    def take(self, event: Event, now: float) -> None:
        """Note what has happened."""
        if isinstance(event, StudyStarted):
            self.study = event.name
        elif isinstance(event, SweepStarted):
            self.sweep, self.metric, self._total = event.sweep, event.metric, event.total
            self.rows = {trial.id: TrialRow(trial) for trial in event.trials}
        elif isinstance(event, TrialStarted):
            row = self.rows.setdefault(event.trial.id, TrialRow(event.trial))
            row.state, row.began, row.stage_began = "running", now, now
        elif isinstance(event, TrialProgress | StepPart | StageSaid | StageWaiting | GpuWaiting | Moving):
            self._work(event, now)
        elif isinstance(event, StageFinished):
            row = self._row(event.trial, now)
            row.enter(event.stage, now)
            row.step = row.steps = row.part = row.parts = 0
            row.stage_began, row.said = now, ""
            if row.info is None:  # work that several trials share has no end of its own
                del self.rows[event.trial]
        elif isinstance(event, SharedEnded):
            self.rows.pop(event.job, None)
        elif isinstance(event, TrialFinished):
            row = self.rows.setdefault(event.trial.id, TrialRow(event.trial, began=now))
            row.state = "found" if event.status == "done" and event.cached else event.status
            row.said = event.reason or (event.error.splitlines() or [""])[0]
            row.score, row.ended = event.metrics.get(self.metric), now

    def _row(self, trial: str, now: float) -> TrialRow:
        return self.rows.setdefault(trial, TrialRow(None, began=now, stage_began=now))

    def _work(
        self, event: TrialProgress | StepPart | StageSaid | StageWaiting | GpuWaiting | Moving, now: float
    ) -> None:
        if isinstance(event, StepPart) and event.trial not in self.rows:
            return  # it was sent before the end of its work, and came after
        row = self._row(event.trial, now)
        if row.state in ENDED:
            return
        row.enter("waiting" if isinstance(event, GpuWaiting | Moving) else event.stage, now)
        row.heard = now
        if isinstance(event, TrialProgress | StepPart) and not row.steps:  # work may go on in its middle
            row.base = event.step - isinstance(event, TrialProgress)
        if isinstance(event, TrialProgress):
            row.step, row.steps, row.metrics = event.step, event.steps, dict(event.metrics)
            row.part = row.parts = 0
            row.said = ""
        elif isinstance(event, StepPart):
            row.step, row.steps, row.part, row.parts = event.step, event.steps, event.part, event.parts
        elif isinstance(event, StageSaid):
            row.said = event.text
        elif isinstance(event, StageWaiting):
            row.said = f"waits for {event.holder}"
        else:
            row.said = f"waits {event.reason}"
        if row.stage_began == now:  # its beginning was not told
            row.base = row.done

    def running(self) -> list[tuple[str, TrialRow]]:
        """Return the (id, row) of what runs, in the order in which it began."""
        return [(name, row) for name, row in self.rows.items() if row.state == "running"]

    def ended(self) -> list[tuple[str, TrialRow]]:
        """Return the (id, row) of trials that have ended, the newest first."""
        found = [(name, row) for name, row in self.rows.items() if row.state in ENDED]
        return sorted(found, key=lambda item: -item[1].ended)

    def summary(self, now: float) -> list[tuple[str, str]]:
        """Return what one line says of the sweep, as (what, text): how many are done of all, what failed,
        the best, what is left, and more."""
        from wsss.launch.words import duration

        rows = [row for row in self.rows.values() if row.info is not None]
        states = [row.state for row in rows]
        done, total = sum(state in ENDED for state in states), max(self._total, len(states))
        name = " · ".join(part for part in (self.study, self.sweep) if part)
        parts = [("done", f"{name}: {done} of {total} done" if total else name)]
        if failed := states.count("failed"):
            parts.append(("failed", f"{failed} failed"))
        scores = [
            (row.score, name)
            for name, row in self.rows.items()
            if row.score is not None and row.state != "stopped"
        ]
        if scores:
            best, name = max(scores)
            parts.append(("best", f"best {100 * best:.1f} ({name})"))
        lengths = [row.ended - row.began for row in rows if row.state == "done"]
        running = states.count("running")
        if lengths and running:
            each = sum(lengths) / len(lengths)
            under_way = sum(min(each, now - row.began) for row in rows if row.state == "running")
            left = (each * (total - done) - under_way) / running
            parts.append(("left", f"about {duration(left)} left"))
        parts.append(("spent", f"{duration(now - self.start)} spent"))
        parts.append(("running", f"{running} running"))
        if stopped := states.count("stopped"):
            parts.append(("stopped", f"{stopped} stopped"))
        return parts
