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

from wsss.cli.options import StorageOption, storage_location

if TYPE_CHECKING:
    from wsss.report.comparison import Cell, Comparison, Difference, Row

LEAKS = {
    "train_on_masks": "arms of the method full_masks are controls, not results.",
    "select_on_report": "its numbers are optimistic.",
    "train_on_test": "its numbers on `test` are optimistic.",
}
STEP_TITLES = {"cams": "CAM", "pseudo_masks": "mask"}


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


def compare(
    studies: Annotated[list[str] | None, typer.Argument(help="Names of studies (default: all).")] = None,
    storage: StorageOption = None,
    format_: Annotated[Format, typer.Option("--format", help="How to print it.")] = Format.table,
    per_class: Annotated[bool, typer.Option("--per-class", help="Show the IoU of every class.")] = False,
    errors: Annotated[
        bool, typer.Option("--errors", help="Show in which way masks are wrong, and their outlines.")
    ] = False,
    baseline: Annotated[str | None, typer.Option("--baseline", help="Arm that differences refer to.")] = None,
) -> None:
    """Compare methods: mIoU of every step on `report`, with intervals and paired differences.

    python launch.py compare quickstart --format markdown
    """
    from wsss.errors import ConfigError, Problem
    from wsss.pipeline.storage import open_storage
    from wsss.report.compare import compare as compare_studies

    location = storage_location(storage)
    names = studies or open_storage(location).study_names()
    if not names:
        hint = "run one first, or give --storage FOLDER"
        raise ConfigError(Problem(str(location), "there are no studies here", hint))
    view = View.classes if per_class else View.errors if errors else View.scores
    show(compare_studies(location, names, baseline), format_, view)


def show(comparison: Comparison, format_: str, view: View = View.scores) -> None:
    """Print a comparison as a terminal table, JSON, CSV or Markdown."""
    if format_ == "json":
        print(json.dumps(comparison_json(comparison), indent=1))
        return
    make = {View.scores: score_lines, View.classes: class_lines, View.errors: error_lines}[view]
    header, lines = make(comparison)
    if format_ == "csv":
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([header, *lines])
        print(text.getvalue(), end="")
    elif format_ == "markdown":
        print("| " + " | ".join(header) + " |")
        print("|" + "---|" * len(header))
        for line in lines:
            print("| " + " | ".join(line) + " |")
        print("\n" + notes(comparison))
    else:
        console = Console()
        if not console.is_terminal:
            console = Console(width=160)
        whole = [list(range(len(header)))]
        for part in whole if view != View.scores else _parts(comparison, header, lines, console.width):
            title = "IoU in percent" if view == View.classes else "mIoU in percent"
            table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
            for column in part:
                words = column == 0
                kind: dict[str, Any] = {"min_width": 10} if words else {"justify": "right", "no_wrap": True}
                table.add_column(header[column], **kind)
            for line in lines:
                table.add_row(*[line[column] for column in part])
            console.print(table)
        print(notes(comparison))


def _parts(comparison: Comparison, header: list[str], lines: list[list[str]], width: int) -> list[list[int]]:
    """Return the columns of each table to print: all in one, or a table a step where that is too wide."""
    widest = [max(len(line[column]) for line in [header, *lines]) for column in range(len(header))]
    if sum(widest) + 3 * len(widest) <= width or len(comparison.steps) < 2:
        return [list(range(len(header)))]
    starts = [header.index(STEP_TITLES.get(step, step), 2) for step in comparison.steps]
    return [
        [0, *([1] if number == 0 else []), *range(start, stop)]
        for number, (start, stop) in enumerate(itertools.pairwise([*starts, len(header)]))
    ]


def notes(comparison: Comparison) -> str:
    """Return the sentences that a reader needs to read the table rightly."""
    warning = (
        ""
        if comparison.comparable
        else "These rows were NOT all scored on the same images and classes: don't compare them.\n"
    )
    for study, leaks in comparison.allowed.items():
        for leak in leaks:
            warning += f"{study} was allowed to {leak.replace('_', ' ')}: {LEAKS[leak]}\n"
    controls = ""
    if comparison.has_controls:
        pairs = {row.arm: row.control for row in comparison.rows if row.control}
        named = ", ".join(f"{control} for {arm}" for arm, control in pairs.items())
        controls = (
            f"Δ control: paired difference to an arm's own control ({named}); "
            "without a * the method hasn't earned its number.\n"
        )
    return (
        f"{warning}Scored on {comparison.images} `report` images, with their image-level labels. The "
        "threshold was chosen on `select`.\n"
        "Interval: over images, and over seeds where there are several. "
        f"Δ: paired difference to {comparison.baseline}, * when it stands at 5 % after Holm's correction.\n"
        f"{controls}"
        "Floor: a centre box with the image's first class, no network. "
        "Probe: a linear head on frozen features.\n"
        "Published: threshold chosen on the reported masks themselves, as papers do; not comparable with the "
        "other columns."
    )


def score_lines(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Return the header and the lines of the score table, as text in percent."""
    steps = comparison.steps
    header = ["arm", "seeds"]
    for step in steps:
        title = STEP_TITLES.get(step, step)
        header += [title, "95 % interval", f"Δ {comparison.baseline}"]
        if comparison.has_controls:
            header.append("Δ control")
        if step == steps[0]:
            header += ["τ", "τ=.15", "τ=.20", "published"]
    lines = []
    if comparison.floor is not None:
        lines.append(["floor", "", *_floor_cells(comparison)])
    for row in comparison.rows:
        line = [_arm_title(row, comparison), str(len(row.seeds))]
        for step in steps:
            cell = row.cells.get(step)
            line += _cells(cell, comparison)
            if step == steps[0]:
                line += _threshold_cells(cell)
        lines.append(line)
    return header, lines


def _floor_cells(comparison: Comparison) -> list[str]:
    blanks = [""] * (3 if comparison.has_controls else 2)
    first, *others = [[_percent(comparison.floor), *blanks] for _ in comparison.steps]
    return [*first, "", "", "", "", *itertools.chain.from_iterable(others)]


def _arm_title(row: Row, comparison: Comparison) -> str:
    title = row.arm if len({other.study for other in comparison.rows}) == 1 else f"{row.study}: {row.arm}"
    if row.status != "done":
        return f"{title} ({row.status})"
    values = ", ".join(f"{name} {_short(value)}" for name, value in row.params.items())
    return f"{title} ({values})" if values else title


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _cells(cell: Cell | None, comparison: Comparison) -> list[str]:
    controls = comparison.has_controls
    if cell is None:
        return [""] * (4 if controls else 3)
    interval = f"[{_percent(cell.low)}, {_percent(cell.high)}]"
    differences = [_difference(cell.to_baseline), *([_difference(cell.to_control)] if controls else [])]
    return [_percent(cell.miou), interval, *differences]


def _difference(difference: Difference | None) -> str:
    if difference is None:
        return ""
    return f"{100 * difference.mean:+.1f}{'*' if difference.significant else ''}"


def _threshold_cells(cell: Cell | None) -> list[str]:
    if cell is None or cell.threshold is None:
        return ["", "", "", ""]
    return [f"{cell.threshold:.2f}", _percent(cell.at_015), _percent(cell.at_020), _percent(cell.published)]


def class_lines(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Return the header and the lines of the per-class table: one line an arm and step."""
    header = ["arm", "step", *comparison.per_class]
    lines = [
        [_arm_title(row, comparison), STEP_TITLES.get(step, step)]
        + [_percent(cell.per_class.get(name)) for name in comparison.per_class]
        for row in comparison.rows
        for step, cell in row.cells.items()
    ]
    return header, lines


def error_lines(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Return the header and the lines of the table of errors: one line an arm and step, in percent.

    False positive, false negative and confused are shares of all pixels.
    """
    names = ("miou", "precision", "recall", "boundary_f", "false_positive", "false_negative", "confused")
    header = ["arm", "step", "mIoU", *(name.replace("_", " ") for name in names[1:])]
    lines = [
        [_arm_title(row, comparison), STEP_TITLES.get(step, step)]
        + [_percent(getattr(cell, name)) for name in names]
        for row in comparison.rows
        for step, cell in row.cells.items()
    ]
    return header, lines


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON: shares in [0, 1], nothing rounded."""
    return dataclasses.asdict(comparison)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"
