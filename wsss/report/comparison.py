"""What a comparison of methods holds: numbers as shares in [0, 1], nothing rounded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LEVEL = 0.95
"""Of intervals, and of what stands."""


@dataclass(frozen=True)
class Difference:
    """A mean paired difference with its 95 % interval, as shares in [-1, 1]."""

    mean: float
    low: float
    high: float
    p: float
    p_adjusted: float = 1.0

    @property
    def significant(self) -> bool:
        """Whether it stands after Holm's correction for the number of differences in its column."""
        return self.p_adjusted < 1 - LEVEL


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


@dataclass(frozen=True)
class Protocol:
    """What a step was scored on: `part` is "report" or "test", `images` counts them. `kind` is that of the
    scored artefacts: "cams", "pseudo_masks" or "segmentations".

    `labels`: image-level labels were given, so that only classes that are there could be named. Then
    `floor` is the mIoU of labelling a centre box with the image's first class, no network used.
    `comparable` is False when the rows were not all scored on the same images of the same classes; the
    rest is then of the first row.
    """

    kind: str
    part: str
    images: int
    labels: bool
    floor: float | None
    comparable: bool


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

    @property
    def unscored(self) -> bool:
        """Whether no row has a score, as when there are no masks."""
        return not self.steps

    @property
    def has_controls(self) -> bool:
        return any(cell.to_control for row in self.rows for cell in row.cells.values())
