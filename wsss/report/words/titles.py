"""What rows, columns and their entries are called, wherever a comparison is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wsss.config.stage import scored_as

if TYPE_CHECKING:
    from wsss.report.comparison import Comparison, Difference, Network, Row

PIXEL_LABELS = "pixel labels!"
"""Stands behind the name of every row that isn't weakly supervised."""
ACROSS = "†"
"""Stands behind a difference between rows that rest on different kinds of labels."""


def difference_text(difference: Difference | None) -> str:
    """Return "+1.2*", in percent; a dagger says that the two rest on different kinds of labels."""
    if difference is None:
        return ""
    marks = "*" * difference.significant + ACROSS * difference.across
    return f"{100 * difference.mean:+.1f}{marks}"


def supervision_text(supervision: Sequence[str]) -> str:
    """Return "image, text": what a row rests on; empty where nothing tells."""
    return ", ".join(supervision)


def initial_weights(networks: Mapping[str, Network]) -> str:
    """Return what the networks of a row started from, in one phrase."""
    labels: dict[str, list[str]] = {}
    for label, network in networks.items():
        labels.setdefault(f"{network.backbone} from {network.weights}", []).append(label)
    if len(labels) == 1:
        return next(iter(labels))
    return ", ".join(f"{' and '.join(named)} {what}" for what, named in labels.items())


def row_name(row: Row, rows: Sequence[Row]) -> str:
    """Return the name of a row among others: its arm, with its study where there are several."""
    return row.arm if len({other.study for other in rows}) == 1 else f"{row.study}: {row.arm}"


def arm_title(row: Row, comparison: Comparison) -> str:
    """Return a row's name with its best parameters."""
    title = row_name(row, comparison.rows)
    if row.pixel_labels:
        title = f"{title} ({PIXEL_LABELS})"
    if row.status != "done":
        return f"{title} ({row.status})"
    values = ", ".join(f"{name} {shown(value)}" for name, value in row.params.items())
    return f"{title} ({values})" if values else title


def baseline_row(comparison: Comparison) -> Row | None:
    """Return the row that differences refer to: of the baseline's, which may have several configurations,
    the one without a difference; None without any."""
    rows = (row for row in comparison.rows if row.arm == comparison.baseline and row.cells)
    return next((row for row in rows if not any(cell.to_baseline for cell in row.cells.values())), None)


def baseline_title(comparison: Comparison) -> str:
    """Return the name of the row that differences refer to, with its parameters where its arm has others."""
    row = baseline_row(comparison)
    several = [other for other in comparison.rows if other.arm == comparison.baseline]
    return comparison.baseline if row is None or len(several) < 2 else arm_title(row, comparison)


def shown(value: Any) -> str:
    """Return a parameter's value as tables show it."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def step_title(step: str) -> str:
    """Return the column of a step: its stage's title, or the name that the study gave it."""
    how = scored_as(step)
    return step if how is None else how.title


def step_titles(steps: Sequence[str]) -> str:
    """Return the columns of several steps: "CAM, mask"."""
    return ", ".join(step_title(step) for step in steps)
