"""Numbers and checks as people read them, for the live table, plain lines and plans."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from wsss.pipeline.check import Check
from wsss.stages.step_metrics import HOLDOUT_MIOU, LOSS, MAP, MAP_SIZE, RUNG_SCORE

SHOWN = {LOSS: "loss", MAP: "mAP", RUNG_SCORE: RUNG_SCORE, HOLDOUT_MIOU: "agreement"}
"""The metrics of a step that fit a line, and what they are called there."""
STATES = {"ok": "green", "note": "yellow", "bad": "bold red"}


def describe_metrics(metrics: Mapping[str, float]) -> str:
    """Return the few metrics of a step that fit a line."""
    size = f" at {metrics[MAP_SIZE]:.0f} px" if MAP_SIZE in metrics else ""
    return "  ".join(
        f"{word} {metrics[name]:.3f}{size if name == MAP else ''}"
        for name, word in SHOWN.items()
        if name in metrics
    )


def describe_values(params: Mapping[str, object]) -> str:
    """Return what a search has chosen, numbers with three digits.

    Examples:
        >>> describe_values({"lr": 0.012345, "alpha": 2, "kind": "fmix"})
        'lr 0.0123, alpha 2, kind fmix'
    """
    return ", ".join(
        f"{name} {f'{value:.3g}' if isinstance(value, float) else value}" for name, value in params.items()
    )


def duration(seconds: float) -> str:
    """Return seconds as people read them: 42s, 3m 05s, 2h 10m."""
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"


def checks_table(checks: Sequence[Check]) -> Table:
    """Return one row for everything that was looked at, the way out below what is bad."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="before anything starts", title_justify="left")
    for name in ("", "what", "found"):
        table.add_column(name)
    for check in checks:
        found = f"{check.found}\n{check.hint}" if check.state == "bad" and check.hint else check.found
        table.add_row(Text(check.state, style=STATES[check.state]), Text(check.what), Text(found))
    return table


def note(text: str) -> None:
    """Print a line that begins with "note:" on stderr."""
    print(f"note: {text}", file=sys.stderr, flush=True)
