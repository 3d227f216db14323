"""`compare [STUDY …]`: methods side by side."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from wsss.cli.comparison.published import by_data_set, published_json, published_lines
from wsss.cli.comparison.tuning import show_tuning
from wsss.cli.options import StorageOption
from wsss.launch.finding import find_all
from wsss.report.notes import (
    arm_title,
    difference_text,
    initial_weights,
    notes,
    published_notes,
    step_title,
    supervision_text,
)
from wsss.report.work import work_cells, work_columns

if TYPE_CHECKING:
    from wsss.report.comparison import Cell, Comparison, Difference, Row
    from wsss.report.published import Published

AT_THRESHOLDS = ("τ", "τ=.15", "τ=.20", "area", "PxAP", "published")
"""Columns of the step at which a threshold is chosen."""
WORDS = 5
"""Columns of the published table that are words: they may be wrapped."""


class Format(StrEnum):
    """How a comparison is printed."""

    table = "table"
    json = "json"
    csv = "csv"
    markdown = "markdown"


class View(StrEnum):
    """What a table shows."""

    scores = "scores"
    classes = "classes"
    errors = "errors"
    published = "published"
    tuning = "tuning"


TITLES = {
    View.scores: "mIoU in percent",
    View.classes: "IoU in percent",
    View.errors: "mIoU in percent",
    View.published: "Published mIoU in percent, and that of this storage by the same protocol",
}


def compare(
    studies: Annotated[
        list[str] | None, typer.Argument(help="Studies, names or files (default: all).")
    ] = None,
    storage: StorageOption = None,
    format_: Annotated[Format, typer.Option("--format", help="How to print it.")] = Format.table,
    per_class: Annotated[bool, typer.Option("--per-class", help="Show the IoU of every class.")] = False,
    errors: Annotated[
        bool, typer.Option("--errors", help="Show in which way masks are wrong, and their outlines.")
    ] = False,
    published: Annotated[
        bool, typer.Option("--published", help="Show published numbers, beside rows of the same protocol.")
    ] = False,
    tuning: Annotated[
        bool,
        typer.Option("--tuning", help="Show the best of k configurations, fewer masks, choosing without."),
    ] = False,
    baseline: Annotated[str | None, typer.Option("--baseline", help="Arm that differences refer to.")] = None,
) -> None:
    """Compare methods: mIoU of every step on `report` or `test`, with intervals and paired differences.

    python launch.py compare quickstart --format markdown
    """
    from wsss.errors import ConfigError, Problem
    from wsss.pipeline.past.stored_studies import find_study
    from wsss.report.compare import compare as compare_studies
    from wsss.report.published import beside_published, publications

    asked = {
        View.classes: per_class,
        View.errors: errors,
        View.published: published,
        View.tuning: tuning,
    }
    views = [view for view, wanted in asked.items() if wanted]
    if len(views) > 1:
        message = "only one of them can be shown at a time"
        raise ConfigError(Problem("--per-class, --errors, --published and --tuning", message))
    location, names = find_all(studies or [], storage)
    if tuning:
        from wsss.report.tuning import tuning as tuning_of

        show_tuning(tuning_of(location, names, baseline), format_)
        return
    comparison = compare_studies(location, names, baseline)
    beside = None
    if published:
        loaded = {name: find_study(name, location) for name in names}
        beside = beside_published(comparison, loaded, publications())
    show(comparison, format_, views[0] if views else View.scores, beside)


def show(
    comparison: Comparison, format_: str, view: View = View.scores, published: Published | None = None
) -> None:
    """Print a comparison as a terminal table, JSON, CSV or Markdown; `published` is for the view of it."""
    if format_ == "json":
        more = {} if published is None else {"published": published_json(published, comparison)}
        print(json.dumps({**comparison_json(comparison), **more}, indent=1))
        return
    below = notes(comparison)
    if comparison.unscored and published is None:
        view = View.scores
    if published is not None:
        header, lines = published_lines(published, plain=format_ == "csv")
        below = published_notes(published, comparison)
    else:
        make = {View.scores: score_lines, View.classes: class_lines, View.errors: error_lines}[view]
        header, lines = make(comparison)
        if format_ == "csv":
            header, lines = _with_weights(comparison, header, lines, view)
    if format_ == "csv":
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([header, *lines])
        print(text.getvalue(), end="")
    elif format_ == "markdown":
        print("| " + " | ".join(header) + " |")
        print("|" + "---|" * len(header))
        for line in lines:
            print("| " + " | ".join(line) + " |")
        print("\n" + below)
    else:
        tables = [(header, lines)] if published is None else map(published_lines, by_data_set(published))
        for head, rows in tables:
            _print_table(comparison, head, rows, view)
        print(below)


def _print_table(comparison: Comparison, header: list[str], lines: list[list[str]], view: View) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    whole = [list(range(len(header)))]
    for part in whole if view != View.scores else _parts(comparison, header, lines, console.width):
        title = "hold-out mAP in percent" if comparison.unscored else TITLES[view]
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for column in part:
            words = column < (WORDS if view == View.published else 1)
            kind: dict[str, Any] = {"justify": "right", "no_wrap": view != View.published, "min_width": 5}
            if words:
                kind = {"min_width": 10, "overflow": "fold"}
            table.add_column(header[column], **kind)
        for line in lines:
            table.add_row(*[line[column] for column in part])
        console.print(table)


def _with_weights(
    comparison: Comparison, header: list[str], lines: list[list[str]], view: View
) -> tuple[list[str], list[list[str]]]:
    """Return a table with columns of supervision and initial weights: what notes say elsewhere, CSV has no
    room for."""
    each = [
        [supervision_text(row.supervision), initial_weights(row.networks)]
        for row in comparison.rows
        for _ in (row.cells if view != View.scores else [row])
    ]
    blanks = [["", ""]] * (len(lines) - len(each))  # the floor has none
    more = ["supervision", "initial weights"]
    first = 1 if more[0] in header else 0
    return [*header, *more[first:]], [
        [*line, *own[first:]] for line, own in zip(lines, [*blanks, *each], strict=True)
    ]


def _parts(comparison: Comparison, header: list[str], lines: list[list[str]], width: int) -> list[list[int]]:
    """Return the columns of each table to print: all in one, or a table a step where that is too wide."""
    widest = [max(len(line[column]) for line in [header, *lines]) for column in range(len(header))]
    if sum(widest) + 3 * len(widest) <= width or len(comparison.steps) < 2:
        return [list(range(len(header)))]
    starts = [header.index(step_title(step), 2) for step in comparison.steps]
    return [
        [0, *([1] if number == 0 else []), *range(start, stop)]
        for number, (start, stop) in enumerate(itertools.pairwise([*starts, len(header)]))
    ]


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
    cams = _with_threshold(comparison)
    work = work_columns(comparison)
    header = ["arm", "seeds", *work]
    for step in steps:
        title = step_title(step)
        header += [title, "95 % interval", f"Δ {comparison.baseline}"]
        if comparison.has_controls:
            header.append("Δ control")
        if step == cams:
            header += list(AT_THRESHOLDS)
    lines = []
    floors = {step: comparison.protocols[step].floor for step in steps}
    if any(floor is not None for floor in floors.values()):
        line = ["floor", "", *[""] * len(work)]
        for step in steps:
            blanks = 2 + comparison.has_controls + (len(AT_THRESHOLDS) if step == cams else 0)
            line += [_percent(floors[step]), *[""] * blanks]
        lines.append(line)
    for row in comparison.rows:
        line = [arm_title(row, comparison), str(len(row.seeds)), *work_cells(row, work)]
        for step in steps:
            cell = row.cells.get(step)
            line += _cells(cell, comparison)
            if step == cams:
                line += _threshold_cells(cell)
        lines.append(line)
    return header, lines


def _with_threshold(comparison: Comparison) -> str:
    """Return the first step at which thresholds are chosen, empty without one."""
    for step in comparison.steps:
        if any(step in row.cells and row.cells[step].threshold is not None for row in comparison.rows):
            return step
    return ""


def _cells(cell: Cell | None, comparison: Comparison) -> list[str]:
    controls = comparison.has_controls
    if cell is None:
        return [""] * (4 if controls else 3)
    interval = f"[{_percent(cell.low)}, {_percent(cell.high)}]"
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


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON: shares in [0, 1], nothing rounded."""
    return dataclasses.asdict(comparison)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"
