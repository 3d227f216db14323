"""What makes the rows of a comparison hard to compare: how often they were tuned, how long they were trained,
what chose them, what a study allowed itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsss.report.words.titles import row_name, step_titles

if TYPE_CHECKING:
    from wsss.report.comparison import Comparison

LEAKS = {
    "train_on_masks": "arms that are trained on masks are controls, not results.",
    "select_on_report": "its numbers are optimistic.",
    "train_on_test": "its numbers on `test` are optimistic.",
}
LENGTHS = ("epochs", "iterations")


def marks(comparison: Comparison) -> list[str]:
    """Return the sentences about all that makes rows hard to compare."""
    tuned = ["Rows were NOT tuned equally."] if comparison.unequal else []
    return [*leaks(comparison), *unequal_lines(comparison), *trained_lines(comparison), *tuned]


def leaks(comparison: Comparison) -> list[str]:
    """Return a sentence for all that a study was allowed to do that makes numbers optimistic."""
    return [
        f"{study} was allowed to {leak.replace('_', ' ')}: {LEAKS[leak]}"
        for study, allowed in comparison.allowed.items()
        for leak in allowed
    ]


def unequal_lines(comparison: Comparison) -> list[str]:
    """Return a sentence for all that makes the arms of a study hard to compare, with the study's reason."""
    return [
        f"{study} has {name.replace('_', ' ').replace('unequal', 'UNEQUAL')}{f': {why}' if why else ''}."
        for study, allowed in comparison.unfair.items()
        for name, why in allowed.items()
    ]


def trained_lines(comparison: Comparison) -> list[str]:
    """Return a sentence where the networks of rows were to be trained for different numbers of epochs."""
    lengths: dict[str, list[str]] = {}
    for row in comparison.rows:
        if row.status == "done" and row.networks and not row.foreign:
            parts = [f"{number} {what}" for number, what in zip(row.trained, LENGTHS, strict=True) if number]
            mine = lengths.setdefault(" and ".join(parts) or "no epoch", [])
            mine.append(row_name(row, comparison.rows))
    if len(lengths) < 2:
        return []
    named = "; ".join(f"{', '.join(dict.fromkeys(arms))} for {length}" for length, arms in lengths.items())
    return [f"Rows were NOT trained equally long: {named}."]


def foreign_lines(comparison: Comparison) -> list[str]:
    """Return a sentence that names what other programs have made."""
    foreign = {
        row_name(row, comparison.rows): ", ".join(row.foreign) for row in comparison.rows if row.foreign
    }
    made = "; ".join(f"{labels} of {arm}" for arm, labels in foreign.items())
    return [f"Made by other programs, whose epochs and tuning nobody counts: {made}."] if made else []


def chosen_lines(comparison: Comparison) -> list[str]:
    """Return a sentence about steps whose rows were chosen on different `select` images."""
    apart = [step for step in comparison.steps if not comparison.protocols[step].chosen_alike]
    if not apart:
        return []
    return [
        f"{step_titles(apart)}: thresholds and configurations of these rows were NOT all chosen on the same "
        "`select` images: more masks choose better."
    ]
