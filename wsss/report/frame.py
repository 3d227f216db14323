"""A comparison as flat tables that a program reads: one name a column, shares in [0, 1], nothing rounded.

Of a step, columns begin with its title in lower case: `cam`, `cam_low`, `cam_high`, `cam_delta` …; where a
study gave it the name of another column, such as `seeds`, they begin with `seeds_step`.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from wsss.report.comparison import Cell, Comparison, Difference, Row
from wsss.report.words.titles import initial_weights, step_title, supervision_text
from wsss.report.words.unequal import marks

OF_CELL = (
    "threshold",
    "at_015",
    "at_020",
    "area",
    "pxap",
    "select",
    "published",
    "precision",
    "recall",
    "boundary_f",
)
"""Numbers of a cell that have columns, behind the step's name."""
FLOOR = "floor"
Record = Mapping[str, Any]
"""Column → text, number, True, False, or None where there is nothing."""
ERRORS = ("precision", "recall", "boundary_f", "false_positive", "false_negative", "confused")


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON: shares in [0, 1], nothing rounded; `table` is that of `frame_rows`."""
    return {"table": frame_rows(comparison), **dataclasses.asdict(comparison)}


def frame_rows(comparison: Comparison) -> list[Record]:
    """Return a row for the floor, where a step has one, and one for each row of the comparison.

    All rows have the same columns, None where there is nothing. Of a step titled `CAM`: `cam` is the mIoU as
    a share in [0, 1], `cam_low` and `cam_high` its 95 % interval; `cam_delta`, `_delta_low`, `_delta_high`,
    `_delta_p` (after Holm's correction), `_delta_stands` and `_delta_across` (the two rest on different kinds
    of labels) are the paired difference to the baseline, and the same with `control` that to the arm's own
    control. `params` is JSON. `unequal` says what makes the rows hard to compare, as the notes of a table do;
    it is empty where nothing does.
    """
    names = _step_names(comparison)
    unequal = " ".join(marks(comparison))
    rows = [dict(_row(row, names, unequal)) for row in comparison.rows]
    for step, name in names.items():
        if comparison.protocols[step].images == 1:  # one image has no spread
            rows = [{**row, f"{name}_low": None, f"{name}_high": None} for row in rows]
    floors = {names[step]: comparison.protocols[step].floor for step in comparison.steps}
    if any(value is not None for value in floors.values()):
        rows.insert(0, {"arm": FLOOR, **floors})
    columns = list(dict.fromkeys(column for row in sorted(rows, key=len, reverse=True) for column in row))
    return [{column: row.get(column) for column in columns} for row in rows]


def _step_names(comparison: Comparison) -> dict[str, str]:
    """Return step → what its columns begin with, so that no two columns of all have one name."""
    taken = {column for row in comparison.rows for column, _ in _row(row, {}, "")}
    names = {}
    for step in comparison.steps:
        name = _column(step_title(step))
        while not taken.isdisjoint(columns := {column for column, _ in _cell(name, None)}):
            name = f"{name}_step"
        names[step] = name
        taken |= columns
    return names


def _row(row: Row, names: dict[str, str], unequal: str) -> Iterator[tuple[str, Any]]:
    yield "study", row.study
    yield "arm", row.arm
    yield "configuration", row.configuration
    yield "method", row.method
    yield "status", row.status
    yield "seeds", len(row.seeds)
    yield "params", json.dumps(dict(row.params), sort_keys=True)
    yield "supervision", supervision_text(row.supervision)
    yield "pixel_labels", bool(row.pixel_labels)
    yield "initial_weights", initial_weights(row.networks)
    tried = row.tried
    yield "tried", None if tried is None else tried.configurations
    yield "epochs", None if tried is None else tried.epochs
    yield "hours", None if tried is None else tried.hours
    yield "gpu_hours", None if tried is None else tried.gpu_hours
    yield "trained_epochs", row.trained[0]
    yield "trained_iterations", row.trained[1]
    yield "trained_epochs_really", row.trained_really
    yield "unequal", unequal
    for label, value in row.holdout.items():
        yield f"{_column(label)}_holdout_map", value
        yield f"{_column(label)}_holdout_px", ", ".join(map(str, row.holdout_sizes.get(label, ())))
    for step, name in names.items():
        yield from _cell(name, row.cells.get(step))


def _cell(name: str, cell: Cell | None) -> Iterator[tuple[str, Any]]:
    yield name, None if cell is None else cell.miou
    yield f"{name}_low", None if cell is None else cell.low
    yield f"{name}_high", None if cell is None else cell.high
    yield from _difference(f"{name}_delta", None if cell is None else cell.to_baseline)
    yield from _difference(f"{name}_control_delta", None if cell is None else cell.to_control)
    for number in OF_CELL:
        yield f"{name}_{number}", None if cell is None else getattr(cell, number)


def _difference(name: str, found: Difference | None) -> Iterator[tuple[str, Any]]:
    yield name, None if found is None else found.mean
    yield f"{name}_low", None if found is None else found.low
    yield f"{name}_high", None if found is None else found.high
    yield f"{name}_p", None if found is None or not found.tested else found.p_adjusted
    yield f"{name}_stands", None if found is None else found.significant
    yield f"{name}_across", None if found is None else found.across


def class_rows(comparison: Comparison) -> list[Record]:
    """Return a row for each row and step of the comparison: the IoU of the background and every class.

    A class with the name of another column, such as `step`, is `step_class`.
    """
    found: list[Record] = []
    unequal = " ".join(marks(comparison))
    for row in comparison.rows:
        for step, cell in row.cells.items():
            record = _head(row, step, unequal)
            for name in comparison.per_class:
                record[f"{name}_class" if name in record else name] = cell.per_class.get(name)
            found.append(record)
    return found


def error_rows(comparison: Comparison) -> list[Record]:
    """Return a row for each row and step: what the step adds, and in which way its masks are wrong."""
    unequal = " ".join(marks(comparison))
    return [
        {
            **_head(row, step, unequal),
            "miou": cell.miou,
            **dict(_difference("before_delta", cell.to_before)),
            **{name: getattr(cell, name) for name in ERRORS},
        }
        for row in comparison.rows
        for step, cell in row.cells.items()
    ]


def _head(row: Row, step: str, unequal: str) -> dict[str, Any]:
    return {
        "study": row.study,
        "arm": row.arm,
        "configuration": row.configuration,
        "pixel_labels": bool(row.pixel_labels),
        "unequal": unequal,
        "step": _column(step_title(step)),
    }


def _column(title: str) -> str:
    """Return a column's name.

    Examples:
        >>> _column("CAM"), _column("second mask")
        ('cam', 'second_mask')
    """
    return re.sub(r"\W+", "_", title.lower()).strip("_")
