"""The tables of `compare` as text for people: percent with one digit, a line a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsss.report.words.titles import arm_title, difference_text, step_title
from wsss.report.words.work import work_cells, work_columns

if TYPE_CHECKING:
    from wsss.report.comparison import Cell, Comparison, Difference, Row

AT_THRESHOLDS = ("τ", "τ=.15", "τ=.20", "area", "PxAP", "published")
"""Columns of a step at which a threshold is chosen."""


def _unscored_lines(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    names = list(dict.fromkeys(name for row in comparison.rows for name in row.holdout))
    titles = ["mAP"] if len(names) == 1 else [f"mAP {name}" for name in names]
    work = work_columns(comparison)
    lines = [
        [arm_title(row, comparison), str(len(row.seeds)), *work_cells(row, work)]
        + [cell for name in names for cell in (_percent(row.holdout.get(name)), _pixels(row, name))]
        for row in comparison.rows
    ]
    return ["arm", "seeds", *work, *(cell for title in titles for cell in (title, "px"))], lines


def _pixels(row: Row, classifier: str) -> str:
    """Return the long side at which a classifier's mAP was measured; several where seeds differ."""
    return ", ".join(map(str, row.holdout_sizes.get(classifier, ())))


def score_lines(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Return the header and the lines of the score table, as text in percent."""
    if comparison.unscored:
        return _unscored_lines(comparison)
    steps = comparison.steps
    cut = _with_threshold(comparison)
    work = work_columns(comparison)
    header = ["arm", "seeds", *work]
    for step in steps:
        title = step_title(step)
        header += [title, "95 % interval", f"Δ {comparison.baseline}"]
        if comparison.has_controls:
            header.append("Δ control")
        if step in cut:
            header += [name if len(cut) == 1 else f"{title} {name}" for name in AT_THRESHOLDS]
    lines = []
    floors = {step: comparison.protocols[step].floor for step in steps}
    if any(floor is not None for floor in floors.values()):
        line = ["floor", "", *[""] * len(work)]
        for step in steps:
            blanks = 2 + comparison.has_controls + (len(AT_THRESHOLDS) if step in cut else 0)
            line += [_percent(floors[step]), *[""] * blanks]
        lines.append(line)
    for row in comparison.rows:
        line = [arm_title(row, comparison), str(len(row.seeds)), *work_cells(row, work)]
        for step in steps:
            cell = row.cells.get(step)
            line += _cells(cell, comparison, step)
            if step in cut:
                line += _threshold_cells(cell)
        lines.append(line)
    return header, lines


def score_groups(comparison: Comparison, header: list[str]) -> list[list[int]]:
    """Return the columns of the score table that stay together, the most important first: what a step scored,
    then what thresholds did, then what the rows took."""
    if comparison.unscored:
        return [list(range(1, len(header)))]
    place = work = len(work_columns(comparison)) + 2
    cut = _with_threshold(comparison)
    own = 3 + comparison.has_controls
    scores: list[list[int]] = []
    cuts: list[list[int]] = []
    for step in comparison.steps:
        for group, there, width in ((scores, True, own), (cuts, step in cut, len(AT_THRESHOLDS))):
            if there:
                group.append(list(range(place, place + width)))
                place += width
    return [*scores, *cuts, list(range(1, work))]


def _with_threshold(comparison: Comparison) -> list[str]:
    """Return the steps at which thresholds are chosen."""
    return [
        step
        for step in comparison.steps
        if any(step in row.cells and row.cells[step].threshold is not None for row in comparison.rows)
    ]


def _cells(cell: Cell | None, comparison: Comparison, step: str) -> list[str]:
    controls = comparison.has_controls
    if cell is None:
        return [""] * (4 if controls else 3)
    known = comparison.protocols[step].images > 1
    interval = f"[{_percent(cell.low)}, {_percent(cell.high)}]" if known else ""
    differences = [
        difference_text(cell.to_baseline),
        *([difference_text(cell.to_control)] if controls else []),
    ]
    return [_percent(cell.miou), interval, *differences]


def _interval(difference: Difference | None) -> str:
    return "" if difference is None else f"[{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]"


def _threshold_cells(cell: Cell | None) -> list[str]:
    if cell is None or cell.threshold is None:
        return [""] * len(AT_THRESHOLDS)
    shares = (cell.at_015, cell.at_020, cell.area, cell.pxap, cell.published)
    return [f"{cell.threshold:.2f}", *map(_percent, shares)]


def class_lines(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Return the header and the lines of the per-class table: one line an arm and step."""
    header = ["arm", "step", *comparison.per_class]
    lines = [
        [arm_title(row, comparison), step_title(step)]
        + [_percent(cell.per_class.get(name)) for name in comparison.per_class]
        for row in comparison.rows
        for step, cell in row.cells.items()
    ]
    return header, lines


def error_lines(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Return the header and the lines of the table of errors: one line an arm and step, in percent.

    Δ before is the paired difference to the step before, with its interval. False positive, false negative
    and confused are shares of all pixels.
    """
    names = ("miou", "precision", "recall", "boundary_f", "false_positive", "false_negative", "confused")
    header = [
        "arm",
        "step",
        "mIoU",
        "Δ before",
        "95 % interval",
        *(name.replace("_", " ") for name in names[1:]),
    ]
    lines = [
        [arm_title(row, comparison), step_title(step), _percent(cell.miou)]
        + [difference_text(cell.to_before), _interval(cell.to_before)]
        + [_percent(getattr(cell, name)) for name in names[1:]]
        for row in comparison.rows
        for step, cell in row.cells.items()
    ]
    return header, lines


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"
