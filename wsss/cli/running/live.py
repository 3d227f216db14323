"""What a person sees while a study runs: one live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from wsss.cli.running.state import State, TrialRow
from wsss.launch.lines import Lines
from wsss.launch.words import checks_table, describe_metrics, describe_values, duration
from wsss.pipeline.events import Event, Observer, PreflightDone, StudyFinished

RECENT = 8
"""Ended trials that are shown, where the screen has room for that many."""
BAR = 12
GAP = 2
LEAST = 10
"""Cells that a column of details keeps, or it goes."""
COLUMNS = ("trial", "stage", "progress", "left", "score", "values")
"""In the order in which they stand. The last go first where the screen is narrow."""
PROGRESS = COLUMNS.index("progress")


def live_view(*, json: bool = False) -> Observer:
    """Return the table for a terminal, lines for a file or a pipe, lines on stderr for `--json`."""
    console = Console(stderr=json)
    return LiveTable(console) if console.is_terminal and not console.is_dumb_terminal else Lines(console)


class LiveTable:
    """One table that redraws itself every second: the summary, running trials, the last that ended."""

    def __init__(self, console: Console) -> None:
        self._state = State(time.monotonic())
        self._over = False
        self._lock = threading.Lock()
        """Rich draws from a thread of its own."""
        self._live = Live(
            console=console,
            get_renderable=lambda: self,
            refresh_per_second=1,
            transient=True,
            vertical_overflow="crop",
        )

    def on_event(self, event: Event) -> None:
        if not self._live.is_started and not self._over:  # not before: a bar may show how data are checked
            self._live.start()
        if isinstance(event, PreflightDone):
            self._live.console.print(checks_table(event.checks))  # stays above the table that is redrawn
            return
        with self._lock:
            self._state.take(event, time.monotonic())
            self._over = self._over or isinstance(event, StudyFinished)

    def close(self) -> None:
        self._over = True
        self._live.stop()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._over:
            return
        with self._lock:
            now = time.monotonic()
            # The last line stays free for the cursor.
            height = max(4, (options.height or console.height) - 1)
            yield from draw(self._state, now, options.max_width, height)


def draw(state: State, now: float, width: int, height: int) -> Iterator[Text | Table]:
    """Yield the summary and the table of a running study: at most `height` lines of at most `width` cells.

    Running trials come before ended ones, the newest of those first.
    """
    yield Text(fitted_summary(state.summary(now), width), style="bold", no_wrap=True, overflow="ellipsis")
    running, ended = state.running(), state.ended()
    room = height - 2  # the summary, the headings
    hidden = 0
    if len(running) > room:
        hidden = len(running) - (room - 1)
        running = running[: room - 1]
    shown = [*running, *ended[: min(RECENT, room - len(running) - (hidden > 0))]]
    if not shown:
        return
    lines = [_cells(name, row, now) for name, row in shown]
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, show_edge=False)
    headings = [(state.metric or "score") if name == "score" else name for name in COLUMNS]
    widths = fitted_widths([headings, *lines], width)
    if widths[PROGRESS]:
        for line, (_, row) in zip(lines, shown, strict=True):
            line[PROGRESS] = _progress(row, widths[PROGRESS])
    for heading, cells in zip(headings, widths, strict=True):
        if cells:
            right: JustifyMethod = "right" if heading == "left" else "left"
            table.add_column(heading, width=cells, no_wrap=True, overflow="ellipsis", justify=right)
    for line, (_, row) in zip(lines, shown, strict=True):
        style = "" if row.state == "running" else "red" if row.state == "failed" else "dim"
        table.add_row(*(Text(cell) for cell, cells in zip(line, widths, strict=True) if cells), style=style)
    yield table
    if hidden:
        yield Text(f"… and {hidden} more running", style="dim")


def fitted_summary(parts: Sequence[tuple[str, str]], width: int) -> str:
    """Return as many of the parts, the first ones, as fit a line."""
    texts = [text for _, text in parts]
    while len(texts) > 1 and cell_len(" · ".join(texts)) > width:
        texts.pop()
    return " · ".join(texts)


def fitted_widths(lines: Sequence[Sequence[str]], width: int) -> list[int]:
    """Return the cells that each column gets, 0 for one that is left out. Names stay whole before details
    are shown: the last columns shrink, then go.

    Args:
        lines: the headings and all rows, a cell for each of `COLUMNS`.
        width: of the screen, in cells.
    """
    columns = list(zip(*lines, strict=True))
    widths = [max(map(cell_len, column)) if any(column[1:]) else 0 for column in columns]

    def over() -> int:
        return sum(widths) + GAP * (sum(cells > 0 for cells in widths) - 1) - width

    without_bar = max(cell_len(line[PROGRESS].lstrip("━─ ")) for line in lines)
    for column in range(len(widths) - 1, 0, -1):
        if over() <= 0:
            break
        least = without_bar if column == PROGRESS else min(LEAST, widths[column])
        kept = max(least, widths[column] - over())
        widths[column] = kept
        if over() > 0 and column > 1:
            widths[column] = 0
    if over() > 0:
        widths = [min(widths[0], width), *[0] * (len(widths) - 1)]
    return widths


def _cells(name: str, row: TrialRow, now: float) -> list[str]:
    values = describe_values(row.info.params) if row.info else ""
    if row.state != "running":
        score = "" if row.score is None else f"{100 * row.score:.1f}"
        return [name, row.state, "", "", row.said or score, values]
    left = row.left(now)
    details = row.said or describe_metrics(row.metrics)
    return [
        name,
        row.stage or "starting",
        _progress(row, 10**6),
        "" if left is None else duration(left),
        details,
        values,
    ]


def _progress(row: TrialRow, width: int) -> str:
    """Return a bar, the steps and the parts of the next one, as far as they fit so many cells."""
    if row.state != "running" or not row.steps:
        return ""
    parts = f" + {row.part}/{row.parts}" if row.parts else ""
    text = f"{row.step}/{row.steps}{parts}"
    bar = min(BAR, width - cell_len(text) - 1)
    if bar < 3:
        return text
    filled = round(bar * row.done / row.steps)
    return f"{'━' * filled}{'─' * (bar - filled)} {text}"
