"""What a comparison of methods holds: numbers as shares in [0, 1], nothing rounded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from wsss.pipeline.events import Tried
from wsss.store.ledger import TrialRecord

EQUAL = 1.2
"""Rows of which one tried at most so many times as many configurations as another count as equally tuned."""
LEAST_IMAGES = 6
"""With fewer no difference stands: five images that all agree do so by chance in one case of 16."""
LEVEL = 0.95
"""Of intervals, and of what stands."""


@dataclass(frozen=True)
class Difference:
    """A mean paired difference with its 95 % interval, as shares in [-1, 1].

    `seeds` counts the seeds that both sides have. With fewer than two the interval is over images and knows
    nothing of how much another training would differ: such a difference is shown and never stands, and `p` is
    not among those that `p_adjusted` is adjusted for. What another program made once counts as one seed;
    with fewer than `LEAST_IMAGES` images none counts.
    """

    mean: float
    low: float
    high: float
    p: float
    p_adjusted: float = 1.0
    seeds: int = 2
    across: bool = False
    """Whether the two rest on different kinds of labels."""

    @property
    def tested(self) -> bool:
        """Whether the spread of trainings is in the interval."""
        return self.seeds > 1

    @property
    def significant(self) -> bool:
        """Whether it stands after Holm's correction for the number of differences in its column."""
        return self.tested and self.p_adjusted < 1 - LEVEL


@dataclass(frozen=True)
class Cell:
    """The score of one arm at one step, as shares in [0, 1]; means over seeds.

    `to_before` is the difference to the same arm's step before, where both were scored on the same images.
    """

    miou: float
    low: float
    high: float
    to_baseline: Difference | None = None
    to_control: Difference | None = None
    to_before: Difference | None = None
    threshold: float | None = None
    at_015: float | None = None
    at_020: float | None = None
    published: float | None = None
    area: float | None = None
    """The mean mIoU over all thresholds in [0, 1): no choice of a threshold enters it."""
    pxap: float | None = None
    """How well maps rank pixels: the area under pixel precision over pixel recall."""
    select: float | None = None
    precision: float | None = None
    recall: float | None = None
    boundary_f: float | None = None
    false_positive: float | None = None
    """Share of pixels that are background, taken for a class; the other way round; for another class."""
    false_negative: float | None = None
    confused: float | None = None
    per_class: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Network:
    """What a network of a chain started from. `stage` made it; `weights` says what they had learnt from."""

    stage: str
    backbone: str
    weights: str


@dataclass(frozen=True)
class Row:
    """One configuration of an arm. `status` is "done", "failed", "stopped" or "started"; `control` is the arm
    that it has to beat, empty without one.

    `networks` are those of its chain by label. `pixel_labels` says, in words, where they have seen pixel
    labels: a row of which it isn't empty is not weakly supervised. `trained_on` counts the images that the
    last classifier learnt from.
    """

    study: str
    arm: str
    method: str
    configuration: str
    seeds: tuple[int, ...]
    params: Mapping[str, Any]
    status: str
    control: str
    cells: Mapping[str, Cell]
    networks: Mapping[str, Network] = field(default_factory=dict)
    pixel_labels: tuple[str, ...] = ()
    trained_on: int | None = None
    smaller: tuple[str, ...] = ()
    """In words, which of its stages worked on smaller copies of photos, for want of memory: another machine
    may give other numbers."""
    holdout: Mapping[str, float] = field(default_factory=dict)
    """Classifier's name → mAP in [0, 1] on the hold-out, a mean over seeds."""
    holdout_sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Classifier's name → the long sides, in pixels, at which that was measured; mostly one."""
    masks: Mapping[str, str] = field(default_factory=dict)
    """Step → folder of its pseudo masks, of the first seed."""
    pictures: Mapping[str, str] = field(default_factory=dict)
    """Step → file with some of its photos to look at, of the first seed; without masks to score with."""
    tried: Tried | None = None
    """How many configurations it was chosen from, and what they took."""
    supervision: tuple[str, ...] = ()
    """The kinds of labels that it rests on, weights and imports included."""
    segments: bool = False
    """Whether it has a network that segments new photos."""
    trained: tuple[int, int] = (0, 0)
    """Epochs, and updates of weights, that the study asks of its networks, added up."""
    trained_really: int = 0
    """Epochs of its networks' trainings: `patience` ends some early."""
    means: Mapping[str, str] = field(default_factory=dict)
    """What its stages spent besides epochs: "cams.scales" → "[0.5, 1]", of the last stage of each kind."""
    missing: tuple[int, ...] = ()
    """Seeds of its configuration that have no result, so that they are in no mean."""
    lost: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Of sweeps where no trial came to a result: sweep → how they ended ("failed", "stopped") → how many."""
    searched: str = ""
    """How its study searched, and by what it chose; empty where there was nothing to search."""
    elsewhere: Mapping[str, int] = field(default_factory=dict)
    """Other studies of the storage and of the same photos that gave one of its stages the same settings →
    among how many, where these are more than its own study tried."""
    foreign: tuple[str, ...] = ()
    """The stages whose results other programs made: nobody knows how long these trained."""
    once: tuple[str, ...] = ()
    """Of them, those that are the same with several seeds: other programs made them once."""
    processors: tuple[str, ...] = ()
    """The types of processor that made it, as far as records say."""

    def trials(self, records: Mapping[str, TrialRecord]) -> list[TrialRecord]:
        """Return its trials, all seeds, among those of its study."""
        mine = (self.arm, self.configuration)
        return [trial for trial in records.values() if (trial.arm, trial.configuration) == mine]

    def first_trial(self, records: Mapping[str, TrialRecord]) -> TrialRecord | None:
        """Return the trial of its first seed, among those of its study."""
        return next((trial for trial in self.trials(records) if trial.seed in self.seeds[:1]), None)


@dataclass(frozen=True)
class Protocol:
    """What a step was scored on: `part` is "report" or "test", `images` counts them. `kind` is that of the
    scored artefacts: "cams", "pseudo_masks" or "segmentations".

    `labels`: image-level labels were given, so that only classes that are there could be named. Then
    `floor` is the mIoU of labelling a centre box with the image's first class, no network used.
    `comparable` is False when the rows were not all scored on the same images of the same classes; the
    rest is then of the first row. `chosen_alike` is False when not all were chosen on the same `select`
    images.
    """

    kind: str
    part: str
    images: int
    labels: bool
    floor: float | None
    comparable: bool
    chosen_alike: bool = True


@dataclass(frozen=True)
class Unfinished:
    """How far a study is that is not at its end: `done` of `total` trials, and `failed` others.

    `running`: a process runs it at this moment.
    """

    done: int
    total: int
    failed: int
    running: bool


@dataclass(frozen=True)
class Comparison:
    """`steps` are in the order of the chain, `protocols` has each. `per_class` are the names of classes,
    the background first. `allowed` names, per study, what it was allowed to do that makes numbers optimistic.
    """

    rows: tuple[Row, ...]
    steps: tuple[str, ...]
    protocols: Mapping[str, Protocol]
    baseline: str
    per_class: tuple[str, ...]
    allowed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unfair: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Per study: what it was allowed to do that makes its arms hard to compare, and why."""
    unnamed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Per study: what makes its arms unequal and stands in no `allow`."""
    gone: Mapping[str, str] = field(default_factory=dict)
    """Per study that is based on one which the storage doesn't have: that one's name."""
    unfinished: Mapping[str, Unfinished] = field(default_factory=dict)
    """The studies that are not at their end."""

    @property
    def unscored(self) -> bool:
        """Whether no row has a score, as when there are no masks."""
        return not self.steps

    @property
    def supervisions(self) -> tuple[tuple[str, ...], ...]:
        """The groups of rows: what they rest on, in the order of rows; nothing tells it of rows without a
        result."""
        found = (row.supervision for row in self.rows if row.supervision or row.status == "done")
        return tuple(dict.fromkeys(found))

    @property
    def differences(self) -> Iterator[Difference]:
        """All that are shown beside scores."""
        cells = (cell for row in self.rows for cell in row.cells.values())
        pairs = ((cell.to_baseline, cell.to_control) for cell in cells)
        return (found for pair in pairs for found in pair if found is not None)

    @property
    def unequal(self) -> bool:
        """Whether a row was chosen from clearly more configurations than another, of any study. Random draws
        of few values repeat some, so that a few more or less are none."""
        numbers = [row.tried.configurations for row in self.rows if row.tried is not None]
        numbers = [number for number in numbers if number]
        return bool(numbers) and max(numbers) > EQUAL * min(numbers)

    @property
    def has_controls(self) -> bool:
        return any(cell.to_control for row in self.rows for cell in row.cells.values())
