"""`compare --tuning`: the best of k configurations, choosing with fewer masks, and choosing without."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from wsss.cli.comparison.formats import FORMATS, csv_text
from wsss.cli.console import print_table, say

if TYPE_CHECKING:
    from wsss.report.tuned.rows import Tuning, TuningRow

Lines = list[list[str]]
MORE = "!"
"""Stands behind a difference that is there with unequal tuning only."""
NUMBERS = ("score", "low", "high", "other_low", "other_high")


def show_tuning(found: Tuning, format_: str) -> None:
    """Print what the storage tells of tuning as terminal tables or in another format."""
    if format_ == "json":
        print(json.dumps({**dataclasses.asdict(found), "notes": tuning_notes(found)}, indent=1))
        return
    if format_ == "csv":
        print(csv_text(long_records(found)), end="")
        return
    tables = [
        ("Best of k: expected mIoU in percent", *best_of_lines(found)),
        ("Fewer masks: expected mIoU in percent", *few_mask_lines(found)),
        ("Chosen by other scores: mIoU in percent", *selected_lines(found)),
    ]
    shown = [table for table in tables if table[2]]
    below = "\n".join(tuning_notes(found))
    if format_ == "table" or not shown:
        for title, header, lines in shown:
            print_table(title, header, lines, names=2)
        say(below)
        return
    for number, (title, header, lines) in enumerate(shown, start=1):
        print(FORMATS[format_](title, header, lines, below if number == len(shown) else ""))


def best_of_lines(found: Tuning) -> tuple[list[str], Lines]:
    """Return the header and two lines an arm: the best of k with its interval, and the difference to the
    baseline at the same k."""
    from wsss.metrics.best_of import budgets

    numbers = sorted({k for row in found.rows for k in budgets(row.tried)})
    header = ["sweep", "arm", "tried", *(f"k={k}" for k in numbers), f"Δ {found.baseline} as tuned"]
    lines = []
    for row in found.rows:
        points = {point.k: point for point in row.best_of}
        cells = [_share(points[k]) if k in points else "" for k in numbers]
        lines.append([_sweep(row, found), row.arm, str(row.tried), *cells, _as_tuned(row)])
        if row.gaps:
            gaps = [_gap(row.gaps[k]) if k in row.gaps else "" for k in numbers]
            lines.append(["", f"  Δ {found.baseline}", "", *gaps, ""])
    return header, lines


def few_mask_lines(found: Tuning) -> tuple[list[str], Lines]:
    """Return the header and a line an arm: what choosing with so many masks a class would have reported."""
    numbers = sorted({one.masks for row in found.rows for one in row.few_masks if one.masks})
    header = ["sweep", "arm", *(f"{number} a class" for number in numbers), "all"]
    lines = []
    for row in found.rows:
        cells = {one.masks: _share(one) for one in row.few_masks}
        if cells:
            lines.append([_sweep(row, found), row.arm, *(cells.get(number, "") for number in (*numbers, 0))])
    return header, lines


def selected_lines(found: Tuning) -> tuple[list[str], Lines]:
    """Return the header and a line for every arm and score that it might have been chosen by."""
    header = ["sweep", "arm", "chosen by", "masks", "mIoU", "lost", "95 % interval"]
    lines = [
        [
            *(_sweep(row, found), row.arm, one.by, "select" if one.masks else "none"),
            *(_percent(one.score), _signed(one.lost), f"[{_signed(one.low)}, {_signed(one.high)}]"),
        ]
        for row in found.rows
        for one in row.selected
        if len(row.selected) > 1
    ]
    return header, lines


def long_records(found: Tuning) -> list[dict[str, Any]]:
    """Return all numbers as records of one kind, for CSV: shares in [0, 1]."""
    records: list[dict[str, Any]] = []

    def put(row: TuningRow, what: str, number: Any, *values: float | None) -> None:
        records.append(
            {
                "study": row.study,
                "sweep": row.sweep,
                "arm": row.arm,
                "tried": row.tried,
                "what": what,
                "number": number,
                **dict(zip(NUMBERS, (*values, *[None] * (len(NUMBERS) - len(values))), strict=True)),
            }
        )

    for row in found.rows:
        for point in row.best_of:
            other = (point.other_low, point.other_high)
            put(row, "best of", point.k, point.score, point.low, point.high, *other)
        for k, gap in row.gaps.items():
            put(row, f"best of, minus {found.baseline}", k, *dataclasses.astuple(gap))
        if row.as_tuned is not None:
            what = f"as tuned, minus {found.baseline}{MORE if row.only_with_more else ''}"
            put(row, what, row.tried, *dataclasses.astuple(row.as_tuned))
        for one in row.few_masks:
            put(row, "masks a class", one.masks or "all", one.score, one.low, one.high)
        for choice in row.selected:
            put(row, f"chosen by {choice.by}", None, choice.score)
            put(row, f"lost by {choice.by}", None, choice.lost, choice.low, choice.high)
    return records


def tuning_notes(found: Tuning) -> list[str]:
    """Return the sentences that a reader needs to read the tables rightly."""
    if not found.rows:
        return ["No sweep was ranked by a score on `select` masks: there is nothing to tell of its tuning."]
    lines = [
        "Best of k: the mean, over all ways to try k of the configurations, of what the one that `select` "
        "ranks first reports. [ ]: 95 % interval for other images and these very configurations, each as it "
        "was trained. ( ): for other images and other configurations, drawn and trained anew; where "
        "configurations were drawn at random, up to half of those that were tried."
    ]
    lines += [
        f"{_sweep(row, found)}, {row.arm}: {row.members} members of a population, which went on from each "
        f"other and were trained with {row.tried} configurations. The best of fewer is not known."
        for row in found.rows
        if row.members
    ]
    lines += [
        f"NO configuration of {row.arm} in {_sweep(row, found)} has a score: all that were tried failed or "
        "were stopped."
        for row in found.rows
        if not row.scored
    ]
    if any(row.scored < (row.members or row.tried) for row in found.rows):
        lines.append(
            "Configurations that were stopped or failed count as tried and are ranked last; where all k may "
            "be of them, nothing is shown."
        )
    if any(row.few_masks for row in found.rows):
        lines.append(
            "Fewer masks: threshold and configuration chosen with so many `select` masks of each class, the "
            "mean over ways to draw them; interval over the reported images."
        )
    if any(len(row.selected) > 1 for row in found.rows):
        lines.append(
            "Chosen by: the configuration that another score ranks first. Lost: what it reports less than "
            "the one that `select` masks choose. Without masks the threshold is the score's own, or 0.2."
        )
    unequal = [row for row in found.rows if row.only_with_more]
    for row in unequal:
        equal = max(row.gaps)
        lines.append(
            f"{MORE} {row.arm}: its difference to {found.baseline} appears only with unequal tuning; at the "
            f"best of {equal} each it is {_gap(row.gaps[equal])}."
        )
    return lines


def _sweep(row: TuningRow, found: Tuning) -> str:
    several = len({other.study for other in found.rows}) > 1
    return f"{row.study}: {row.sweep}" if several else row.sweep


def _share(one: Any) -> str:
    """Return "45.1 [43.0, 47.1] (42.6, 47.6)"; the second interval where there is one."""
    text = f"{_percent(one.score)} [{_percent(one.low)}, {_percent(one.high)}]"
    other = getattr(one, "other_low", None)
    return text if other is None else f"{text} ({_percent(other)}, {_percent(one.other_high)})"


def _gap(gap: Any) -> str:
    text = f"{_signed(gap.mean)} [{_signed(gap.low)}, {_signed(gap.high)}]"
    if gap.other_low is None:
        return text
    return f"{text} ({_signed(gap.other_low)}, {_signed(gap.other_high)})"


def _as_tuned(row: TuningRow) -> str:
    if row.as_tuned is None:
        return ""
    return f"{_signed(row.as_tuned.mean)}{MORE if row.only_with_more else ''}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _signed(value: float) -> str:
    return f"{100 * value:+.1f}"
