"""What makes the rows of a comparison hard to compare: how often they were tuned, how long they were trained,
what they were shown, what chose them, what a study allowed itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from wsss.report.words.titles import PIXEL_LABELS, row_name, step_titles

if TYPE_CHECKING:
    from wsss.report.comparison import Comparison, Row

LEAKS = {
    "train_on_masks": "arms that are trained on masks are controls, not results.",
    "select_on_report": "its numbers are optimistic.",
    "train_on_test": "its numbers on `test` are optimistic.",
}
PERFECT = 0.999
"""mIoU above which a result is the truth itself; networks that are taught by all masks stay far below."""
LENGTHS = ("epochs", "iterations")


def marks(comparison: Comparison) -> list[str]:
    """Return the sentences about all that makes rows hard to compare: tables, pages and notes have them, and
    so have tables for programs."""
    return [
        *_lost(comparison),
        *_apart(comparison),
        *chosen_lines(comparison),
        *leaks(comparison),
        *unequal_lines(comparison),
        *_unnamed(comparison),
        *_perfect(comparison),
        *_gone(comparison),
        *_tuned(comparison),
        *_elsewhere(comparison),
        *_searched(comparison),
        *_chosen_by_report(comparison),
        *_missing_seeds(comparison),
        *trained_lines(comparison),
        *_ended_early(comparison),
        *_means(comparison),
        *pixel_label_lines(comparison.rows),
        *smaller_lines(comparison.rows),
        *foreign_lines(comparison),
        *_once(comparison),
    ]


def _lost(comparison: Comparison) -> list[str]:
    """Return a sentence for arms none of whose trials of a sweep came to a result, one for those alike."""
    alike = _grouped(
        (f"sweep {sweep}: {_ends(counts)}", row_name(row, comparison.rows))
        for row in comparison.rows
        for sweep, counts in row.lost.items()
    )
    return [
        f"NO result of {_listed(names)} in {what}{' each' if len(names) > 1 else ''}."
        for what, names in alike.items()
    ]


def _ends(counts: Mapping[str, int]) -> str:
    """Return "2 failed trials and 1 stopped trial"."""
    parts = (f"{number} {status} {'trial' if number == 1 else 'trials'}" for status, number in counts.items())
    return " and ".join(parts)


def _once(comparison: Comparison) -> list[str]:
    """Return a sentence for every row with several seeds of which another program knew nothing."""
    return [
        f"{' and '.join(row.once)} of {row_name(row, comparison.rows)} is the SAME with each of its seeds: "
        "another program made it once, and no difference stands on that."
        for row in comparison.rows
        if row.once
    ]


def leaks(comparison: Comparison) -> list[str]:
    """Return a sentence for all that a study, or its base, was allowed to do that makes numbers optimistic,
    but for masks where no row was trained on any."""
    taught = any(row.pixel_labels for row in comparison.rows)
    return [
        f"{study} was allowed to {leak.replace('_', ' ')}: {LEAKS[leak]}"
        for study, allowed in comparison.allowed.items()
        for leak in allowed
        if leak != "train_on_masks" or taught
    ]


def unequal_lines(comparison: Comparison) -> list[str]:
    """Return a sentence for all that makes the arms of a study hard to compare, with the study's reason."""
    return [
        f"{study} has {name.replace('_', ' ').replace('unequal', 'UNEQUAL')}{f': {why}' if why else ''}."
        for study, allowed in comparison.unfair.items()
        for name, why in allowed.items()
    ]


def trained_lines(comparison: Comparison) -> list[str]:
    """Return a sentence where the study asks different numbers of epochs of the networks of rows."""
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
    """Return a sentence about steps whose rows were chosen on different `select` images, if any was chosen: a
    network that was tried once and needs no threshold wasn't."""
    apart = [
        step
        for step in comparison.steps
        if not comparison.protocols[step].chosen_alike
        and any(_is_chosen(row, step) for row in comparison.rows if step in row.cells)
    ]
    if not apart:
        return []
    return [
        f"{step_titles(apart)}: thresholds and configurations of these rows were NOT all chosen on the same "
        "`select` images: more masks choose better."
    ]


def _is_chosen(row: Row, step: str) -> bool:
    """Whether `select` chose a threshold of this step, or the row among several configurations; where nobody
    knows how many, it may have."""
    several = row.tried is None or row.tried.configurations > 1
    return several or row.cells[step].threshold is not None


def pixel_label_lines(rows: Sequence[Row]) -> list[str]:
    """Return a sentence for every row that isn't weakly supervised."""
    reasons = {row_name(row, rows): " and ".join(row.pixel_labels) for row in rows if row.pixel_labels}
    return [f"{arm} has seen {PIXEL_LABELS} Its {reason}." for arm, reason in reasons.items()]


def smaller_lines(rows: Sequence[Row]) -> list[str]:
    """Return a sentence for every row whose stages worked on smaller copies of photos."""
    return [
        f"{row_name(row, rows)} was made smaller: {'; '.join(row.smaller)}. More memory gives other numbers."
        for row in rows
        if row.smaller
    ]


def _apart(comparison: Comparison) -> list[str]:
    apart = [step for step in comparison.steps if not comparison.protocols[step].comparable]
    if not apart:
        return []
    return [
        f"{step_titles(apart)}: these rows were NOT all scored on the same images and classes: "
        "don't compare them."
    ]


def _unnamed(comparison: Comparison) -> list[str]:
    return [
        f"{study} has UNEQUAL arms that its `allow` doesn't name: {message}."
        for study, messages in comparison.unnamed.items()
        for message in messages
    ]


def _perfect(comparison: Comparison) -> list[str]:
    """Return a sentence for what scores as only the masks do that it is compared with: an import of these."""
    found = [
        f"{step_titles([step])} of {row_name(row, comparison.rows)}"
        for row in comparison.rows
        for step, cell in row.cells.items()
        if cell.miou > PERFECT
    ]
    named = ", ".join(dict.fromkeys(found))
    return (
        [f"{named}: pixel for pixel the masks that scores are made with. Nothing else scores so."]
        if found
        else []
    )


def _gone(comparison: Comparison) -> list[str]:
    """Return a sentence for every study whose base is not there: what that allowed and tried is lost."""
    return [
        f"{study} is based on {base}, which is NOT in this storage: what that tried, declared and was "
        "allowed is unknown here."
        for study, base in comparison.gone.items()
    ]


def _tuned(comparison: Comparison) -> list[str]:
    if not comparison.unequal:
        return []
    return [
        "Rows were NOT tuned equally: the best of more is better by chance alone. `compare --tuning` "
        "shows them at equal numbers of configurations."
    ]


def _elsewhere(comparison: Comparison) -> list[str]:
    """Return a sentence for every row whose settings are among more that another study tried."""
    return [
        f"{row_name(row, comparison.rows)} may have been CHOSEN elsewhere: study {study} of this storage has "
        f"its settings among {count} that it tried."
        for row in comparison.rows
        for study, count in row.elsewhere.items()
    ]


def _searched(comparison: Comparison) -> list[str]:
    """Return a sentence where several studies searched in different ways, or by different scores."""
    ways = _grouped((row.searched, row.study) for row in comparison.rows if row.searched)
    if len(ways) < 2:
        return []
    return [f"Rows were NOT searched alike: {_told(ways)}."]


def _chosen_by_report(comparison: Comparison) -> list[str]:
    """Return a sentence that names arms with several rows: the best of these was chosen by no `select`."""
    counts: dict[str, int] = {}
    for row in comparison.rows:
        if row.status == "done":
            counts[row_name(row, comparison.rows)] = counts.get(row_name(row, comparison.rows), 0) + 1
    several = ", ".join(f"{count} of {arm}" for arm, count in counts.items() if count > 1)
    if not several or comparison.unscored:
        return []
    return [
        f"Arms stand here with several configurations ({several}): to take the best of these by the scores "
        "above is to choose on what is reported."
    ]


def _missing_seeds(comparison: Comparison) -> list[str]:
    return [
        f"{row_name(row, comparison.rows)} lacks {'seed' if len(row.missing) == 1 else 'seeds'} "
        f"{', '.join(map(str, row.missing))}, which did NOT come to an end: its mean leaves them out."
        for row in comparison.rows
        if row.missing
    ]


def _ended_early(comparison: Comparison) -> list[str]:
    early = [
        f"{row_name(row, comparison.rows)} after {row.trained_really} of {row.trained[0]} epochs"
        for row in comparison.rows
        if row.status == "done" and 0 < row.trained_really < row.trained[0]
    ]
    return [f"Training ended early, by `patience`: {'; '.join(dict.fromkeys(early))}."] if early else []


def _means(comparison: Comparison) -> list[str]:
    """Return a sentence where stages of one kind were given other images, sizes or scales."""
    rows = [row for row in comparison.rows if row.status == "done"]
    names = dict.fromkeys(name for row in rows for name in row.means)
    parts = []
    for name in names:
        groups = _grouped(
            (row.means[name], row_name(row, comparison.rows)) for row in rows if name in row.means
        )
        if len(groups) > 1:
            parts.append(f"{name} {_told(groups)}")
    return [f"Rows were NOT made alike: {'; '.join(parts)}."] if parts else []


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return value → the names that have it, of (value, name)."""
    groups: dict[str, list[str]] = {}
    for value, name in dict.fromkeys(pairs):
        groups.setdefault(value, []).append(name)
    return groups


def _told(groups: Mapping[str, Sequence[str]]) -> str:
    """Return "[1] for baseline and mixup, [0.5, 1] for fmix"."""
    return ", ".join(f"{value} for {_listed(names)}" for value, names in groups.items())


def _listed(names: Sequence[str]) -> str:
    """Return "baseline and mixup", of many names the first."""
    return f"{' and '.join(names[:4])}{f' and {len(names) - 4} more' if len(names) > 4 else ''}"
