"""`compare [STUDY …]`: methods side by side."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from wsss.cli.comparison.formats import FORMATS, csv_text
from wsss.cli.comparison.lines import class_lines, error_lines, score_groups, score_lines
from wsss.cli.comparison.published import by_data_set, published_json, published_lines, published_records
from wsss.cli.comparison.tuning import show_tuning
from wsss.cli.console import Group, print_table, say
from wsss.cli.options import StorageOption
from wsss.launch.finding import find_all
from wsss.report.frame import Record, class_rows, comparison_json, error_rows, frame_rows
from wsss.report.words.notes import notes, published_notes

if TYPE_CHECKING:
    from wsss.report.comparison import Comparison
    from wsss.report.published import Published


class Format(StrEnum):
    """How a comparison is printed."""

    table = "table"
    json = "json"
    csv = "csv"
    markdown = "markdown"
    latex = "latex"
    html = "html"


class View(StrEnum):
    """What a table shows."""

    scores = "scores"
    classes = "classes"
    errors = "errors"
    published = "published"
    tuning = "tuning"


Lines = tuple[list[str], list[list[str]]]
LATEX_COLUMNS = 8
"""Of a table that fits between the margins of a page."""
TITLES = {
    View.scores: "mIoU in percent",
    View.classes: "IoU in percent",
    View.errors: "mIoU in percent",
    View.published: "Published mIoU in percent, and that of this storage by the same protocol",
}
LINES: dict[View, Callable[[Comparison], Lines]] = {
    View.scores: score_lines,
    View.classes: class_lines,
    View.errors: error_lines,
}
RECORDS: dict[View, Callable[[Comparison], list[Record]]] = {
    View.scores: frame_rows,
    View.classes: class_rows,
    View.errors: error_rows,
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
        from wsss.report.tuned.rows import tuning as tuning_of

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
    """Print a comparison as a terminal table, JSON, CSV, Markdown, LaTeX or HTML.

    Args:
        comparison: what is shown.
        format_: one of `Format`.
        view: what of it; of an unscored one there are only scores.
        published: the table for the view of that name.
    """
    if comparison.unscored and published is None:
        view = View.scores
    if published is not None:
        _show_published(comparison, published, format_)
    elif format_ == "json":
        print(json.dumps({**comparison_json(comparison), "table": RECORDS[view](comparison)}, indent=1))
    elif format_ == "csv":
        print(csv_text(RECORDS[view](comparison)), end="")
    else:
        header, lines = LINES[view](comparison)
        title = "hold-out mAP in percent" if comparison.unscored else TITLES[view]
        _print(
            format_,
            title,
            header,
            lines,
            notes(comparison),
            names=1 if view == View.scores else 2,
            groups=score_groups(comparison, header) if view == View.scores else (),
        )


def _print(
    format_: str,
    title: str,
    header: Sequence[str],
    lines: Sequence[Sequence[str]],
    below: str,
    *,
    names: int,
    groups: Sequence[Group] = (),
) -> None:
    """Print a table and the sentences below it."""
    if format_ == "latex" and groups:
        parts = latex_parts(groups)
        for number, columns in enumerate(parts, start=1):
            some = [[line[column] for column in columns] for line in lines]
            said = below if number == len(parts) else ""
            print(FORMATS[format_](title, [header[column] for column in columns], some, said))
        return
    if format_ != "table":
        print(FORMATS[format_]("" if format_ == "markdown" else title, header, lines, below))
        return
    print_table(title, header, lines, names=names, groups=groups)
    say(below)


def latex_parts(groups: Sequence[Group]) -> list[list[int]]:
    """Return the columns of the tables that fit on a page, each with the arms first."""
    parts: list[list[int]] = []
    for group in groups:
        if not parts or len(parts[-1]) + len(group) > LATEX_COLUMNS:
            parts.append([0])
        parts[-1] += group
    return parts


def _show_published(comparison: Comparison, published: Published, format_: str) -> None:
    """Print published numbers beside those of this storage."""
    header, lines = published_lines(published)
    below, title = published_notes(published, comparison), TITLES[View.published]
    if format_ == "json":
        found = {**comparison_json(comparison), "published": published_json(published, comparison)}
        print(json.dumps(found, indent=1))
    elif format_ == "csv":
        print(csv_text(published_records(published, comparison)), end="")
    elif format_ != "table":
        _print(format_, title, header, lines, below, names=2)
    else:
        for head, rows in map(published_lines, by_data_set(published)):
            groups = [list(range(6, len(head))), [2, 3, 4, 5]]
            print_table(title, head, rows, names=2, groups=groups, left=(2, 3, 4))
        say(below)
