"""A comparison as flat records with columns that a program can read: shares in [0, 1], names without spaces.

Of a step they begin with its title in lower case: `cam`, `cam_low`, `cam_high`, `cam_delta` …
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from wsss.report.comparison import Cell, Comparison, Difference, Row
from wsss.report.notes import initial_weights, step_title, supervision_text

Record = dict[str, Any]
"""Column → text, number, True, False, or None where there is nothing."""
AT_THRESHOLDS = ("threshold", "at_015", "at_020", "area", "pxap", "published")
ERRORS = ("precision", "recall", "boundary_f", "false_positive", "false_negative", "confused")


def column(step: str) -> str:
    """Return what a step's columns begin with.

    Examples:
        >>> [column(step) for step in ("cams", "pseudo_masks", "My walk-2")]
        ['cam', 'mask', 'my_walk_2']
    """
    return re.sub(r"\W+", "_", step_title(step).lower()).strip("_")


def score_records(comparison: Comparison) -> list[Record]:
    """Return a record a row, that of the floor first: every step's score, interval and differences."""
    floors = {step: comparison.protocols[step].floor for step in comparison.steps}
    classifiers = list(dict.fromkeys(name for row in comparison.rows for name in row.holdout))
    found = []
    if any(floor is not None for floor in floors.values()):
        blank = _of_row(None)
        for step in comparison.steps:
            blank |= _of_cell(column(step), None, comparison) | {column(step): floors[step]}
        found.append({**blank, "arm": "floor", **_holdouts(None, classifiers)})
    for row in comparison.rows:
        record = _of_row(row)
        for step in comparison.steps:
            record |= _of_cell(column(step), row.cells.get(step), comparison)
        found.append({**record, **_holdouts(row, classifiers)})
    return found


def class_records(comparison: Comparison) -> list[Record]:
    """Return a record a row and step: the IoU of background and every class."""
    return [
        {**_head(row, step), **{name: cell.per_class.get(name) for name in comparison.per_class}}
        for row in comparison.rows
        for step, cell in row.cells.items()
    ]


def error_records(comparison: Comparison) -> list[Record]:
    """Return a record a row and step: what the step adds, and in which way its masks are wrong."""
    return [
        {
            **_head(row, step),
            "miou": cell.miou,
            **_difference("before", cell.to_before),
            **{name: getattr(cell, name) for name in ERRORS},
        }
        for row in comparison.rows
        for step, cell in row.cells.items()
    ]


def _head(row: Row, step: str) -> Record:
    return {
        "study": row.study,
        "arm": row.arm,
        "configuration": row.configuration,
        "pixel_labels": "; ".join(row.pixel_labels),
        "step": column(step),
    }


def _of_row(row: Row | None) -> Record:
    tried = None if row is None else row.tried
    return {
        "study": row and row.study,
        "arm": row and row.arm,
        "configuration": row and row.configuration,
        "status": row and row.status,
        "params": row and json.dumps(dict(row.params)),
        "seeds": row and len(row.seeds),
        "tried": tried and tried.configurations,
        "epochs": tried and tried.epochs,
        "hours": tried and tried.hours,
        "gpu_hours": tried and tried.gpu_hours,
        "supervision": row and supervision_text(row.supervision),
        "initial_weights": row and initial_weights(row.networks),
        "pixel_labels": row and "; ".join(row.pixel_labels),
    }


def _of_cell(name: str, cell: Cell | None, comparison: Comparison) -> Record:
    with_threshold = any(
        other.threshold is not None
        for row in comparison.rows
        for step, other in row.cells.items()
        if column(step) == name
    )
    to_baseline, to_control = (None, None) if cell is None else (cell.to_baseline, cell.to_control)
    return {
        name: cell and cell.miou,
        f"{name}_low": cell and cell.low,
        f"{name}_high": cell and cell.high,
        **_difference(name, to_baseline),
        **(_difference(f"{name}_control", to_control) if comparison.has_controls else {}),
        **({f"{name}_{at}": cell and getattr(cell, at) for at in AT_THRESHOLDS} if with_threshold else {}),
    }


def _difference(name: str, difference: Difference | None) -> Mapping[str, Any]:
    return {
        f"{name}_delta": difference and difference.mean,
        f"{name}_delta_low": difference and difference.low,
        f"{name}_delta_high": difference and difference.high,
        f"{name}_delta_stands": difference and difference.significant,
        f"{name}_delta_across": difference and difference.across,
    }


def _holdouts(row: Row | None, classifiers: list[str]) -> Record:
    """Return the hold-out mAP of every classifier, and the long sides at which it was measured."""
    found: Record = {}
    for name in classifiers:
        found[f"{name}_map"] = row and row.holdout.get(name)
        found[f"{name}_map_px"] = row and ", ".join(map(str, row.holdout_sizes.get(name, ())))
    return found
