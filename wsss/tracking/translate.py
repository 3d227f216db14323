"""From events of a study to operations on MLflow: for a study that runs and for one that is read back.

experiment = study, parent run = sweep, child run = trial.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from wsss.pipeline.events import (
    Event,
    Origin,
    StageFinished,
    StudyFinished,
    StudyStarted,
    SweepFinished,
    SweepStarted,
    TrialFinished,
    TrialProgress,
    TrialStarted,
)
from wsss.stages.step_metrics import is_tracked
from wsss.tracking.content import tags as tag
from wsss.tracking.content.about import (
    data_sets,
    last_if_published,
    origin_tags,
    trial_note,
    trial_yaml,
)
from wsss.tracking.content.conclusion import CONFIG
from wsss.tracking.content.params import trial_parameters
from wsss.tracking.spool import Operation

RUN_STATUS = {"done": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}


class Translator:
    """Turns one study's events, in order, into operations. Times are milliseconds since 1970."""

    def __init__(self, study: str) -> None:
        self._study = study
        self._about = StudyStarted(study, "", "")
        self._sweep = ""
        self._metric = ""
        self._sweep_began = 0
        self._sweep_reopened = False
        self._open: dict[str, tuple[TrialStarted, int]] = {}
        self._opened: set[str] = set()
        self._ended: list[str] = []
        self._numbers: dict[str, dict[str, float]] = {}
        self._steps: set[tuple[str, str, int]] = set()
        self._scores: dict[str, dict[str, float]] = {}
        self._made: list[Operation] = []

    def operations(self, event: Event, at: int) -> list[Operation]:
        """Return what an event that happened at a time means for MLflow."""
        self._made = []
        self._handle(event, at)
        return self._made

    def _put(self, op: str, at: int, **content: Any) -> None:
        self._made.append({"op": op, "study": self._study, "time": at, **content})

    def _handle(self, event: Event, at: int) -> None:
        if isinstance(event, StudyStarted):
            self._study, self._about = event.name, event
            self._put("experiment", at, name=event.name)
        elif isinstance(event, SweepStarted):
            self._sweep, self._metric, self._sweep_began = event.sweep, event.metric, at
            self._scores.clear()
            self._ended.clear()
            self._open_sweep(cached=True)
        elif isinstance(event, TrialStarted):
            self._open.setdefault(event.trial.id, (event, at))
        elif isinstance(event, TrialProgress):
            self._progress(event, at)
        elif isinstance(event, StageFinished):
            if event.trial in self._open and not event.cached:
                self._open_trial(*self._open[event.trial], cached=False)
        elif isinstance(event, TrialFinished):
            self._finish_trial(event, at)
        elif isinstance(event, SweepFinished):
            self._finish_sweep(event, at)
        elif isinstance(event, StudyFinished) and event.interrupted:
            self._interrupt(at)

    def _interrupt(self, at: int) -> None:
        for trial in self._open:
            if f"trial:{trial}" in self._opened:
                numbers = self._numbers.pop(f"trial:{trial}", {})
                if numbers:
                    self._metrics(f"trial:{trial}", numbers, 0, at)
                self._put("end", at, run=f"trial:{trial}", status="KILLED")
        self._open.clear()
        if self._sweep:
            self._put("end", at, run=f"sweep:{self._sweep}", status="KILLED")
        self._sweep = ""

    def _open_sweep(self, *, cached: bool) -> None:
        self._sweep_reopened = not cached
        run = f"sweep:{self._sweep}"
        note = f"Sweep `{self._sweep}` of `{self._study}`: its trials are below."
        tags = {tag.SWEEP: self._sweep, tag.METRIC: self._metric, **self._origin_tags(note)}
        content: dict[str, Any] = {"name": self._sweep, "parent": "", "tags": tags, "params": {}}
        self._put("run", self._sweep_began, run=run, cached=cached, **content)
        self._put("text", self._sweep_began, run=run, path=CONFIG, text=self._about.config)
        self._inputs(run, self._sweep_began)

    def _origin_tags(self, note: str, origin: Origin | None = None) -> dict[str, str]:
        return origin_tags(self._study, origin or self._about.origin, note)

    def _inputs(self, run: str, at: int) -> None:
        if self._about.data:
            self._put("inputs", at, run=run, datasets=data_sets(self._about.data, self._about.source))

    def _open_trial(self, started: TrialStarted, began: int, *, cached: bool) -> None:
        info = started.trial
        run = f"trial:{info.id}"
        if run in self._opened:
            return
        self._opened.add(run)
        if not cached and not self._sweep_reopened:
            self._open_sweep(cached=False)  # found finished, but not all of it was
        tags = {
            tag.TRIAL: info.id,
            tag.ARM: info.arm,
            tag.SWEEP: info.sweep,
            tag.SEED: str(info.seed),
        }
        if info.upstream:
            tags[tag.UPSTREAM] = info.upstream
        tags |= self._origin_tags(trial_note(self._study, info), started.origin)
        params, numbers = trial_parameters(started.stages, info.params, self._about.places)
        fixed = {"arm": info.arm, "method": info.method, "backbone": info.backbone, "seed": info.seed}
        every = {name: value for name, value in {**params, **fixed}.items() if value != ""}
        content: dict[str, Any] = {"name": info.id, "parent": f"sweep:{info.sweep}", "params": every}
        self._put("run", began, run=run, tags=tags, cached=cached, **content)
        own = trial_yaml(self._study, info, started.stages) if started.stages else self._about.config
        self._put("text", began, run=run, path=CONFIG, text=own)
        self._inputs(run, began)
        self._numbers[run] = numbers

    def _progress(self, event: TrialProgress, at: int) -> None:
        if event.trial not in self._open:
            return  # of work that several trials share: each of them tells its steps at its end
        self._open_trial(*self._open[event.trial], cached=False)
        self._step(event, at)

    def _step(self, event: TrialProgress, at: int) -> None:
        known = (event.trial, event.stage, event.step)
        chosen = {f"{event.stage}/{name}": value for name, value in event.metrics.items() if is_tracked(name)}
        if chosen and known not in self._steps:
            self._steps.add(known)
            self._metrics(f"trial:{event.trial}", chosen, event.step, event.time or at)

    def _metrics(self, run: str, values: dict[str, float], step: int, at: int) -> None:
        self._put("metrics", at, run=run, values=values, step=step)

    def _finish_trial(self, event: TrialFinished, at: int) -> None:
        info, run = event.trial, f"trial:{event.trial.id}"
        started, began = self._open.pop(info.id, (TrialStarted(info), at))
        self._open_trial(started, began, cached=event.cached)
        self._ended.append(info.id)
        if event.status == "done":
            self._scores[info.id] = dict(event.metrics)
        for step in event.steps:
            self._step(step, at)
        values = {last_if_published(name): value for name, value in event.metrics.items()}
        for score, classes in event.per_class.items():
            values.update({f"{score}/iou/{name}": value for name, value in classes.items()})
        values.update(self._numbers.pop(run, {}))
        if values:  # by name, as MLflow's other lists are: a run's page has them as they came
            self._metrics(run, dict(sorted(values.items())), 0, at)
        for name, path in event.files.items():
            self._put("file", at, run=run, path=name, file=path)
        if event.error:
            self._put("tags", at, run=run, values={tag.ERROR: event.error[-4000:]})
        if event.reason:
            self._put("tags", at, run=run, values={tag.STOPPED: event.reason})
        self._put("end", at, run=run, status=RUN_STATUS[event.status])

    def _finish_sweep(self, event: SweepFinished, at: int) -> None:
        run = f"sweep:{event.sweep}"
        for trial, tried in event.tried.items():
            # `late`: the trial may have ended long ago, and been chosen from more since.
            values = {f"tried/{name}": float(value) for name, value in dataclasses.asdict(tried).items()}
            step = round(3600 * tried.hours)  # grows with all that is tried
            self._put("metrics", at, run=f"trial:{trial}", values=values, step=step, late=True)
        for trial in self._ended:
            kept = {tag.KEPT: str(trial in event.kept).lower()}
            self._put("tags", at, run=f"trial:{trial}", values=kept, late=True)
        scored = {trial: scores for trial, scores in self._scores.items() if self._metric in scores}
        if scored:
            best = max(scored, key=lambda trial: scored[trial][self._metric])
            self._metrics(run, {f"best/{self._metric}": scored[best][self._metric]}, len(scored), at)
            self._put("tags", at, run=run, values={tag.BEST_TRIAL: best})
        self._put("end", at, run=run, status="FINISHED")
        self._sweep = ""


def in_batches(operations: Iterable[Operation]) -> Iterator[Operation]:
    """Join metrics that follow one another in one run: a request for all of them instead of one a step."""
    held: Operation | None = None
    for operation in operations:
        if held is not None and (operation["op"], operation.get("run")) == ("metrics", held["run"]):
            held["points"] += points_of(operation)
            continue
        if held is not None:
            yield held
        held = None
        if operation["op"] == "metrics":
            held = {**operation, "points": points_of(operation)}
        else:
            yield operation
    if held is not None:
        yield held


def points_of(operation: Operation) -> list[tuple[str, float, int, int]]:
    """Return the (name, value, step, time) of a `metrics` operation."""
    if "points" in operation:
        return list(operation["points"])
    step, time = int(operation["step"]), int(operation["time"])
    return [(name, float(value), step, time) for name, value in operation["values"].items()]
