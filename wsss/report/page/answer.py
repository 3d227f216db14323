"""What a study found, in one sentence a step."""

from __future__ import annotations

from wsss.report.comparison import Cell, Comparison, Row
from wsss.report.page.figures import step_name
from wsss.report.page.plot import percent
from wsss.report.words.titles import baseline_row, baseline_title, supervision_text
from wsss.report.words.unequal import marks, pixel_label_lines

UNLIKE = (
    "These rows are not alike in all else: what the sentences below say of that may be part of a difference."
)


def answers(comparison: Comparison, titles: tuple[str, ...]) -> list[str]:
    """Return a sentence a step, that of the last step first.

    Rows that have seen pixel labels are not in the race; a difference counts as found when it stands after
    correction. What makes rows hard to compare is pointed at.
    """
    found = [_answer(comparison, titles, step) for step in reversed(comparison.steps)]
    said = set(marks(comparison)) - set(pixel_label_lines(comparison.rows))  # their names have a mark
    return [*found, UNLIKE] if found and said and len(comparison.rows) > 1 else found


def _answer(comparison: Comparison, titles: tuple[str, ...], step: str) -> str:
    found: list[tuple[str, Row, Cell]] = [
        (title, row, row.cells[step])
        for title, row in zip(titles, comparison.rows, strict=True)
        if step in row.cells and not row.pixel_labels
    ]
    name = step_name(step)
    name = name[:1].upper() + name[1:]
    if not found:
        return f"{name}: no row without pixel labels was scored."
    title, row, cell = max(found, key=lambda one: one[2].miou)
    score = f"{percent(cell.miou)} % mIoU [{percent(cell.low)}, {percent(cell.high)}]"
    if len(found) == 1:
        return f"{name}: {title} reaches {score}."
    if not comparison.protocols[step].comparable:
        return f"{name}: rows were not all scored on the same images and classes, so that none leads."
    others = sum(not row.pixel_labels for row in comparison.rows) - len(found)
    if all(other.miou == cell.miou for _, _, other in found):  # as of steps that all arms share
        return f"{name}: all {len(found)} rows{' that have it' if others else ''} have the same, {score}."
    if row is baseline_row(comparison):
        none = f"of the {len(found)} rows that have it none" if others else "nothing"
        return f"{name}: {none} beats {title}, which reaches {score}."
    difference = cell.to_baseline
    leads = f"leads the {len(found)} rows that have it" if others else "leads"
    if difference is None:
        return f"{name}: {title} {leads} with {score}."
    gain = f"{100 * difference.mean:+.1f} points to {baseline_title(comparison)}"
    interval = f"[{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]"
    if difference.significant:
        stands = (
            f"{name}: {title} {leads} with {score}, {gain} {interval}, which stands at 5 % after correction."
        )
        return f"{stands} {_across(row)}" if difference.across else stands
    if difference.low > 0 and not difference.tested:
        unknown = "it takes more seeds, or images, to say whether that stands"
        return f"{name}: {title} {leads} with {score}, {gain} {interval} over images alone: {unknown}."
    return f"{name}: {title} {leads} with {score}, but {gain} {interval} does not stand: it may be chance."


def _across(row: Row) -> str:
    return f"It rests on other labels ({supervision_text(row.supervision)}): these may be what it is worth."
