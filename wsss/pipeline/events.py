"""What happens while a study runs, as plain records.

The driver produces them, in order, from one thread; the live table, the log lines and the MLflow
client consume them. They carry nothing that a process on another machine could not have sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from wsss.config.search import Scalar
from wsss.pipeline.check import Check

TrialStatus = Literal["done", "failed", "stopped"]


@dataclass(frozen=True)
class TrialInfo:
    """A sampled configuration of one arm with one seed: one row of the live table.

    `id` is stable across resumes (the same configuration gets the same id in every run).
    `params` are the values of the search variables; `method` and `backbone` are those of the
    chain's last classifier, empty when it has none.
    """

    id: str
    sweep: str
    arm: str
    seed: int
    params: Mapping[str, Scalar] = field(default_factory=dict)
    method: str = ""
    backbone: str = ""
    upstream: str = ""


@dataclass(frozen=True)
class Origin:
    """Who ran a study, and with which code. What isn't known is empty."""

    user: str = ""
    version: str = ""
    """Of this package."""
    commit: str = ""
    """Of the git repository that the code is in."""
    dirty: bool = False
    """Whether files that git tracks differ from that commit."""
    job: str = ""
    """The id of the Ray job that it was."""


@dataclass(frozen=True)
class DataPart:
    """The images that serve one purpose (`train`, `holdout`, `select`, `report`, `test`).

    `images` counts them, `digest` is of their photos, labels and masks.
    """

    name: str
    images: int
    digest: str


@dataclass(frozen=True)
class StudyStarted:
    name: str
    folder: str
    """Absolute path of the study's own folder on the storage."""
    config: str
    """The resolved study as YAML text."""
    origin: Origin = Origin()
    data: tuple[DataPart, ...] = ()
    source: str = ""
    """Where the data are."""
    places: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Search variable → the parameters that it stands for in some arm, as `classifier.lr`."""


@dataclass(frozen=True)
class SweepStarted:
    sweep: str
    metric: str
    trials: tuple[TrialInfo, ...]
    """The trials known so far; a search that learns from scores adds more."""
    total: int = 0
    """The number of trials that the sweep will have; 0: those of `trials`."""


@dataclass(frozen=True)
class PreflightDone:
    """The preflight's checks, before the first trial; with a bad one among them no trial starts."""

    checks: tuple[Check, ...]


@dataclass(frozen=True)
class TrialStarted:
    """`stages` maps the labels of its chain to all their parameters as JSON, defaults included. `origin` is
    that of the run in which the trial began; None: of this one."""

    trial: TrialInfo
    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    origin: Origin | None = None


@dataclass(frozen=True)
class TrialProgress:
    """One finished step of one stage. `metrics` are finite floats with bare names ("loss", "mAP").

    `replayed`: an earlier run did this step. Schedulers, which judge a trial by its course, see it; it
    doesn't count as work.
    """

    trial: str
    stage: str
    step: int
    steps: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    replayed: bool = False
    time: int = 0
    """When the step ended, in milliseconds since 1970 by the clock of the host that did it; 0: not known."""


@dataclass(frozen=True)
class StepPart:
    """How far a stage is within its next step, as the batches of an epoch; about once a second.

    It is for people who watch: it may come late, be missing, or never be sent at all.
    """

    trial: str
    stage: str
    step: int
    """Steps that are done, of `steps`."""
    steps: int
    part: int
    """Parts of the next step that are done, of `parts`."""
    parts: int


@dataclass(frozen=True)
class StageWaiting:
    """Another run makes the artefact that this trial needs next; sent repeatedly while it does.

    `holder` names that run ("host, process 12").
    """

    trial: str
    stage: str
    key: str
    holder: str


@dataclass(frozen=True)
class GpuWaiting:
    """A trial waits before its first stage while other programs leave its GPU, or stops waiting; sent
    repeatedly. `reason` says for whom, in words that follow "waits"."""

    trial: str
    reason: str


@dataclass(frozen=True)
class Moving:
    """A trial gives its GPU back, as what comes next needs none, or needs a GPU again.

    `stage` is what comes next, `gpu` whether it needs one; `reported` are the stages whose end the
    trial has reported.
    """

    trial: str
    stage: str
    gpu: bool
    reported: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """What the trial waits for, in words that follow "waits"."""
        return f"for {'a GPU' if self.gpu else 'CPUs beside the GPU'}: {self.stage}"


@dataclass(frozen=True)
class StageSaid:
    """A program that a stage waits for goes on; sent repeatedly. `text` is its last line, or empty."""

    trial: str
    stage: str
    text: str


@dataclass(frozen=True)
class StageFinished:
    """A stage's artefact exists. `cached`: it was found on the storage and nothing was computed."""

    trial: str
    stage: str
    key: str
    cached: bool
    seconds: float = 0.0


@dataclass(frozen=True)
class SharedEnded:
    """Work that several trials share has ended, however it did. `job` is what its events call a trial."""

    job: str


@dataclass(frozen=True)
class TrialFinished:
    """The end of a trial.

    `metrics` are the trial's scores, named like "cams/select/miou", "pseudo_masks/report/miou".
    `per_class` maps a score's name ("cams/report") to class name → IoU in [0, 1].
    `files` maps a name for people ("threshold_curve.png", "overlays/x.png", "classifier.safetensors")
    to an absolute path on this machine. `cached`: every stage of it was already there. `reason` says why
    a trial was stopped.
    """

    trial: TrialInfo
    status: TrialStatus
    metrics: Mapping[str, float] = field(default_factory=dict)
    per_class: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    cached: bool = False
    reason: str = ""
    steps: tuple[TrialProgress, ...] = ()
    """All steps of the artefacts that are its own and not its upstream's, those of earlier runs too."""


@dataclass(frozen=True)
class Tried:
    """How many configurations a result was chosen from, and what trying them took.

    `hours` are those of work on one trial at a time, `gpu_hours` the same by the GPUs that trials held.
    """

    configurations: int
    epochs: int
    hours: float
    gpu_hours: float


@dataclass(frozen=True)
class SweepFinished:
    sweep: str
    kept: tuple[str, ...]
    """Ids of the trials that feed the next sweep, best first within each arm."""
    tried: Mapping[str, Tried] = field(default_factory=dict)
    """By the id of a kept trial: what it was chosen from."""


@dataclass(frozen=True)
class StudyFinished:
    failed: int
    interrupted: bool = False


ChainEvent = TrialProgress | StageWaiting | GpuWaiting | Moving | StageSaid | StageFinished
"""The events of making a chain."""
Event = (
    StudyStarted
    | SweepStarted
    | PreflightDone
    | TrialStarted
    | TrialProgress
    | StepPart
    | StageWaiting
    | GpuWaiting
    | Moving
    | StageSaid
    | StageFinished
    | SharedEnded
    | TrialFinished
    | SweepFinished
    | StudyFinished
)


class Observer(Protocol):
    """Receives every event of a study. It must not raise: an observer that fails must not stop the study."""

    def on_event(self, event: Event) -> None: ...

    def close(self) -> None: ...


def recorded_steps(
    trial: str, label: str, history: Sequence[Mapping[str, float]], times: Sequence[int], steps: int
) -> Iterator[TrialProgress]:
    """Iterate over the steps that a record or a checkpoint holds.

    Args:
        trial: what the events call the trial.
        label: of the stage.
        history: the metrics of each step, from the first.
        times: when each was done, in milliseconds since 1970; older records have none.
        steps: of the stage in all.
    """
    for number, metrics in enumerate(history):
        time = int(times[number]) if number < len(times) else 0
        yield TrialProgress(trial, label, number + 1, steps, metrics, time=time)
