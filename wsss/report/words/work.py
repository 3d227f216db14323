"""The columns of a comparison that say what a row rests on and what it cost: labels, configurations tried,
epochs, hours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsss.report.words.titles import supervision_text

if TYPE_CHECKING:
    from wsss.report.comparison import Comparison, Row


def work_columns(comparison: Comparison) -> list[str]:
    """Return the headings; hours are those of GPUs where any row has used one, and supervision is there where
    rows differ in it."""
    found = [row.tried for row in comparison.rows if row.tried is not None]
    labels = ["supervision"] if len(comparison.supervisions) > 1 else []
    if not found:
        return labels
    return [*labels, "tried", "epochs", "GPU-h" if any(tried.gpu_hours for tried in found) else "CPU-h"]


def work_cells(row: Row, columns: list[str]) -> list[str]:
    """Return a row's cells below those headings."""
    labels = [supervision_text(row.supervision)] if "supervision" in columns else []
    if row.tried is None:
        return [*labels, *[""] * (len(columns) - len(labels))]
    hours = row.tried.gpu_hours if columns[-1] == "GPU-h" else row.tried.hours
    return [*labels, str(row.tried.configurations), str(row.tried.epochs), short_hours(hours)]


def short_hours(hours: float) -> str:
    """Return hours with as many digits as say something.

    Examples:
        >>> [short_hours(value) for value in (0.0, 0.0123, 0.5, 12.34, 1234.5)]
        ['0', '0.01', '0.50', '12.3', '1234']
    """
    if not hours:
        return "0"
    return f"{hours:.2f}" if hours < 10 else f"{hours:.1f}" if hours < 100 else f"{hours:.0f}"
