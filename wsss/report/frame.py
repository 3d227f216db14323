"""A comparison as a flat table that a program reads: one row an arm, one name a column, nothing rounded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from wsss.report.comparison import Comparison, Difference, Row
from wsss.report.notes import initial_weights, step_title

OF_CELL = {
    "threshold": "threshold",
    "at_015": "at_015",
    "at_020": "at_020",
    "area": "area",
    "pxap": "pxap",
    "select": "select",
    "published": "published",
    "precision": "precision",
    "recall": "recall",
    "boundary_f": "boundary_f",
}
"""Columns behind a step's name → what a cell calls it."""
FLOOR = "floor"


def frame_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Return a row for the floor, where a step has one, and one for each row of the comparison.

    All rows have the same columns, None where there is nothing. Of a step titled `CAM`: `cam` is the mIoU as
    a share in [0, 1], `cam_low` and `cam_high` its 95 % interval; `cam_delta`, `_delta_low`, `_delta_high`,
    `_delta_p` (after Holm's correction) and `_delta_stands` are the paired difference to the baseline, and
    the same with `control` that to the arm's own control. `params` is JSON.
    """
    names = {step: _column(step_title(step)) for step in comparison.steps}
    rows = [dict(_row(row, names)) for row in comparison.rows]
    floors = {names[step]: comparison.protocols[step].floor for step in comparison.steps}
    if any(value is not None for value in floors.values()):
        rows.insert(0, {"arm": FLOOR, **floors})
    columns = list(dict.fromkeys(column for row in sorted(rows, key=len, reverse=True) for column in row))
    return [{column: row.get(column) for column in columns} for row in rows]


def _row(row: Row, names: dict[str, str]) -> Iterator[tuple[str, Any]]:
    yield "study", row.study
    yield "arm", row.arm
    yield "method", row.method
    yield "status", row.status
    yield "seeds", len(row.seeds)
    yield "params", json.dumps(dict(row.params), sort_keys=True)
    yield "supervision", " ".join(row.supervision)
    yield "pixel_labels", bool(row.pixel_labels)
    yield "initial_weights", initial_weights(row.networks)
    tried = row.tried
    yield "tried", None if tried is None else tried.configurations
    yield "epochs", None if tried is None else tried.epochs
    yield "hours", None if tried is None else tried.hours
    yield "gpu_hours", None if tried is None else tried.gpu_hours
    for label, value in row.holdout.items():
        yield f"{_column(label)}_holdout_map", value
    for step, name in names.items():
        cell = row.cells.get(step)
        yield name, None if cell is None else cell.miou
        yield f"{name}_low", None if cell is None else cell.low
        yield f"{name}_high", None if cell is None else cell.high
        yield from _difference(f"{name}_delta", None if cell is None else cell.to_baseline)
        yield from _difference(f"{name}_control_delta", None if cell is None else cell.to_control)
        for column, attribute in OF_CELL.items():
            yield f"{name}_{column}", None if cell is None else getattr(cell, attribute)


def _difference(name: str, found: Difference | None) -> Iterator[tuple[str, Any]]:
    yield name, None if found is None else found.mean
    yield f"{name}_low", None if found is None else found.low
    yield f"{name}_high", None if found is None else found.high
    yield f"{name}_p", None if found is None or not found.tested else found.p_adjusted
    yield f"{name}_stands", None if found is None else found.significant


def _column(title: str) -> str:
    """Return a column's name.

    Examples:
        >>> _column("CAM"), _column("second mask")
        ('cam', 'second_mask')
    """
    return re.sub(r"\W+", "_", title.lower()).strip("_")
