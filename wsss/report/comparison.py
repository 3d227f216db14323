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
    """The score of one arm at one step, as shares in [0, 1]; means over seeds."""

    miou: float
    low: float
    high: float
    to_baseline: Difference | None = None
    to_control: Difference | None = None
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
class Row:
    """One configuration of an arm. `status` is "done", "failed", "stopped" or "started"; `control` is the arm
    that it has to beat, empty without one."""

    study: str
    arm: str
    method: str
    configuration: str
    seeds: tuple[int, ...]
    params: Mapping[str, Any]
    status: str
    control: str
    cells: Mapping[str, Cell]


@dataclass(frozen=True)
class Comparison:
    """`floor` is the mIoU of labelling a centre box with the image's first class, no network used.

    `comparable` is False when the rows were not all scored on the same images of the same classes;
    `images`, `floor` and `per_class` are then those of the first row. `allowed` names, per study, what
    it was allowed to do that makes numbers optimistic.
    """

    rows: tuple[Row, ...]
    steps: tuple[str, ...]
    floor: float | None
    images: int
    baseline: str
    per_class: tuple[str, ...]
    comparable: bool = True
    allowed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def has_controls(self) -> bool:
        return any(cell.to_control for row in self.rows for cell in row.cells.values())
