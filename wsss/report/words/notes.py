"""The sentences below a comparison: what it was scored on, what it started from, what to be wary of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsss.report.comparison import LEAST_IMAGES
from wsss.report.words.titles import (
    ACROSS,
    arm_title,
    baseline_title,
    initial_weights,
    step_titles,
    supervision_text,
)
from wsss.report.words.unequal import marks

if TYPE_CHECKING:
    from wsss.report.comparison import Comparison
    from wsss.report.published import Published

ABOUT_MAP = (
    "mAP: how well a classifier tells on hold-out images, shown with a long side of px pixels, which classes "
    "are there. It says nothing about where its maps lie: look at them before you choose by it."
)

NO_RESULT = "Nothing was scored: no trial came to a result. `resume STUDY` tries failed trials again."


def notes(comparison: Comparison) -> str:
    """Return the sentences that a reader needs to read the table rightly."""
    if comparison.unscored:
        return unscored_notes(comparison)
    cells = [cell for row in comparison.rows for cell in row.cells.values()]
    lines = [
        *unfinished_lines(comparison),
        *marks(comparison),
        _scored_on(comparison),
        _initial_weights(comparison),
    ]
    lines.append(
        "Interval: over images, and over seeds where there are several. "
        f"Δ: paired difference to {baseline_title(comparison)}, * when it stands at 5 % after Holm's "
        "correction."
    )
    single = [step for step in comparison.steps if comparison.protocols[step].images == 1]
    if single:
        lines.append(
            f"{step_titles(single)}: scored on ONE image. That has no interval, and no difference stands on "
            "it."
        )
    few = [s for s in comparison.steps if 1 < comparison.protocols[s].images < LEAST_IMAGES]
    if few:
        lines.append(
            f"{step_titles(few)}: scored on fewer than {LEAST_IMAGES} images. The interval of so few is too "
            "narrow, and no difference stands on it."
        )
    lines += [*_across(comparison), *_untested(comparison), *_tried(comparison), *_processors(comparison)]
    if comparison.has_controls:
        pairs = {row.arm: row.control for row in comparison.rows if row.control}
        named = ", ".join(f"{control} for {arm}" for arm, control in pairs.items())
        lines.append(
            f"Δ control: paired difference to an arm's own control ({named}); "
            "without a * nothing tells the two apart."
        )
    if any(protocol.floor is not None for protocol in comparison.protocols.values()):
        lines.append(
            "Floor: a centre box with the image's first class, no network. "
            "Probe: a linear head on frozen features."
        )
    if any(cell.published is not None for cell in cells):
        lines.append(
            "Published: threshold chosen on the reported masks themselves, as papers do; not comparable with "
            "the other columns."
        )
    if any(cell.area is not None for cell in cells):
        lines.append(
            "Area: mean mIoU over all thresholds from 0 to 1. PxAP: area under pixel precision over pixel "
            "recall. No threshold is chosen for either."
        )
    return "\n".join(line for line in lines if line)


def _across(comparison: Comparison) -> list[str]:
    """Return what the rows rest on, and what a difference between unlike rows means."""
    groups = comparison.supervisions
    if not any(groups):
        return []
    if len(groups) == 1:
        return [f"Supervision: {supervision_text(groups[0])}, for all rows."]
    lines = [
        "Rows are grouped by what they rest on (supervision): initial weights, imports and teachers included."
    ]
    if any(difference.across for difference in comparison.differences):
        lines.append(
            f"{ACROSS}: between rows of different supervision. It says what other labels are worth as much "
            "as what the method is."
        )
    return lines


def _untested(comparison: Comparison) -> list[str]:
    """Return why differences have no star that might have one."""
    tested = {difference.tested for difference in comparison.differences}
    enough = [step for step in comparison.steps if comparison.protocols[step].images >= LEAST_IMAGES]
    cells = [
        row.cells[step] for row in comparison.rows if not row.once for step in enough if step in row.cells
    ]
    found = [one for cell in cells for one in (cell.to_baseline, cell.to_control) if one is not None]
    if all(one.tested for one in found):
        return []
    which = "Differences of rows without two seeds in common have" if True in tested else "No difference has"
    return [
        f"{which} a star: with one seed the interval is over images alone and knows nothing of how much "
        "another training would differ. Give the study two seeds or more (`replicate` with `seeds`)."
    ]


def _tried(comparison: Comparison) -> list[str]:
    """Return what the columns of work mean."""
    if all(row.tried is None for row in comparison.rows):
        return []
    return [
        "Tried: configurations that a row was chosen from, over all sweeps, 1 where an arm keeps all; epochs "
        "and hours are those of all trials of its arm."
    ]


def _processors(comparison: Comparison) -> list[str]:
    named = list(dict.fromkeys(name for row in comparison.rows for name in row.processors))
    if len(named) < 2:
        return []
    return [
        f"Made on processors of different types ({'; '.join(named)}), which don't give the same bits: part "
        "of a difference may be theirs."
    ]


def unscored_notes(comparison: Comparison) -> str:
    """Return what to know about rows without a score, and where their masks are."""
    nothing = (
        "Nothing was scored: the data have no masks of the `select` and `report` images, or no stage was "
        "finished that makes CAMs or masks."
        if any(row.status == "done" for row in comparison.rows)
        else NO_RESULT
    )
    lines = [
        *(unfinished_lines(comparison) or [nothing]),
        *marks(comparison),
        *([ABOUT_MAP] if any(row.holdout for row in comparison.rows) else []),
        _initial_weights(comparison),
    ]
    for row in comparison.rows:
        for step, path in row.pictures.items():
            lines.append(f"{step} of {arm_title(row, comparison)}, to look at: {path}")
        for step, folder in row.masks.items():
            lines.append(f"{step} of {arm_title(row, comparison)}: {folder}")
    return "\n".join(line for line in lines if line)


def unfinished_lines(comparison: Comparison) -> list[str]:
    """Return how far every study is that is not at its end: "quick is running: 3 of 12 trials done."."""
    lines = []
    for study, far in comparison.unfinished.items():
        failed = f", {far.failed} failed" if far.failed else ""
        done = f"{far.done} of {far.total} trials done{failed}"
        if far.running:
            lines.append(f"{study} is running: {done}.")
        else:
            lines.append(f"{study} is not at its end: {done}. `resume {study}` goes on.")
    return lines


def _scored_on(comparison: Comparison) -> str:
    """Return, for instance, "Scored: CAM, mask: 208 `report` images, with their image-level labels; …"."""
    groups: dict[str, list[str]] = {}
    for step in comparison.steps:
        protocol = comparison.protocols[step]
        labels = "with their image-level labels" if protocol.labels else "without"
        groups.setdefault(f"{protocol.images} `{protocol.part}` images, {labels}", []).append(step)
    parts = [f"{step_titles(steps)}: {what}" for what, steps in groups.items()]
    text = f"Scored: {'; '.join(parts)}." if parts else ""
    cells = [(step, cell) for row in comparison.rows for step, cell in row.cells.items()]
    chosen = [
        step for step in comparison.steps if any(s == step and c.threshold is not None for s, c in cells)
    ]
    return f"{text} Thresholds of {step_titles(chosen)} were chosen on `select`." if chosen else text


def _initial_weights(comparison: Comparison) -> str:
    """Return what networks started from, once where all rows started from the same."""
    arms: dict[str, list[str]] = {}
    for row in comparison.rows:
        if row.networks:
            arms.setdefault(initial_weights(row.networks), []).append(row.arm)
    if len(arms) == 1:
        return f"Initial weights: {next(iter(arms))}, for all rows."
    parts = [f"{what} ({', '.join(dict.fromkeys(named))})" for what, named in arms.items()]
    return f"Initial weights: {'; '.join(parts)}." if parts else ""


def published_notes(published: Published, comparison: Comparison) -> str:
    """Return the sentences that belong below published numbers."""
    lines = marks(comparison)
    for study, reason in published.left_out.items():
        lines.append(
            f"The protocols differ: {reason} (study {study}). Published numbers are of the whole of PASCAL "
            "VOC 2012, so none of its rows stands here or may be held against them."
        )
    lines += [f"Rows of {study} were scored {what}." for study, what in published.scored_on.items()]
    lines += [
        "CAM: published scores chose their threshold on the masks that they report. Beside them stands "
        "the column `published` of our rows, which does the same; never our other CAM scores.",
        "CAM and mask: image-level labels were given. Segmentation: none were.",
        "Supervision: all that a result rests on, initial weights and helpers included. Rows of other "
        "supervision are no rivals: text, boxes and masks are labels, too.",
        "?: quoted from memory of the paper, or by a page about it, unverified. Initial weights that are not "
        "stated may be COCO segmentation weights, which are pixel labels.",
    ]
    return "\n".join(lines)
