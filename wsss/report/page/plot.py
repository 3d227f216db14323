"""What all plots of the page have in common: their look, and their numbers as a table."""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#7F7F7F")
"""Okabe and Ito's, which people with any colour vision tell apart."""
DASHES = ("solid", "dash", "dot")
SYMBOLS = ("circle", "square", "triangle-up")
PATTERNS = ("", "/", "x")
"""What tells series apart that have the same colour, since there are more than eight."""
GRID = "rgba(128,128,128,0.25)"
LETTERS, LINES = 24, 3
"""Of a name in a plot: a telephone shows the plot beside it."""
LINE = 17
"""Pixels."""


@dataclass(frozen=True)
class Plot:
    """A figure, what it shows, and its numbers as a table."""

    title: str
    caption: str
    figure: Figure
    columns: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]


def percent(value: float | None, digits: int = 1) -> str:
    """Return a share as percent, and nothing for none."""
    return "" if value is None or math.isnan(value) else f"{100 * value:.{digits}f}"


def whole_ticks(most: int) -> int:
    """Return the step of an axis that counts up to `most`: a whole number."""
    return max(1, -(-most // 10))


def new_figure(*, height: int) -> Figure:
    from plotly.graph_objects import Figure

    return styled(Figure(), height)


def series_line(number: int) -> dict[str, str]:
    """Return the line of a series: the ninth has the colour of the first, and is dashed.

    Examples:
        >>> series_line(0)["dash"], series_line(8)["dash"], series_line(0)["color"] == series_line(8)["color"]
        ('solid', 'dash', True)
    """
    return {"color": _of(COLOURS, number), "dash": _round(DASHES, number)}


def series_marker(number: int) -> dict[str, str]:
    """Return the marker of a series, whose shape changes where colours begin again."""
    return {"color": _of(COLOURS, number), "symbol": _round(SYMBOLS, number)}


def series_bar(number: int) -> dict[str, Any]:
    """Return the filling of a series of bars, hatched where colours begin again."""
    return {"color": _of(COLOURS, number), "pattern": {"shape": _round(PATTERNS, number)}}


def _of(looks: Sequence[str], number: int) -> str:
    return looks[number % len(looks)]


def _round(looks: Sequence[str], number: int) -> str:
    """Return the look of one round through the colours."""
    return _of(looks, number // len(COLOURS))


def styled(figure: Figure, height: int) -> Figure:
    """Return a figure that fits the page in light and in dark."""
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 10, "r": 10, "t": 40, "b": 10},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": "#888", "activecolor": "#888"},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        font={"family": "system-ui, sans-serif", "size": 13},
    )
    figure.update_xaxes(gridcolor=GRID, zeroline=False, automargin=True)
    figure.update_yaxes(gridcolor=GRID, zeroline=False, automargin=True)
    return figure


def label(name: str) -> str:
    """Return a name as a plot shows it: in short lines, a long one cut, none of it taken for HTML.

    Examples:
        >>> label("fmix (alpha 0.71, lr 0.0123, weights <none>)")
        'fmix (alpha 0.71, lr<br>0.0123, weights &lt;none&gt;)'
    """
    lines = textwrap.wrap(name, LETTERS, max_lines=LINES, placeholder=" …")
    return "<br>".join(html.escape(line, quote=False) for line in lines)


def named(figure: Figure) -> Figure:
    """Return a figure whose names, in its legend and along its axes, fit a telephone: it grows where they are
    many, or long. Where two are cut to one text, what they name stays apart."""
    shown = [trace for trace in figure.data if trace.name]
    if figure.layout.showlegend is not False and len(shown) > len(COLOURS):
        figure.layout.height += LINE * len(shown) // 3
    for trace in shown:
        trace.name = label(trace.name)
    along: dict[str, list[str]] = {}
    for trace in figure.data:
        for axis in "xy":
            values = getattr(trace, axis, None)
            words = [] if values is None else [word for word in values if isinstance(word, str)]
            place = f"{axis}axis{(getattr(trace, f'{axis}axis', None) or axis)[1:]}"
            along[place] = list(dict.fromkeys([*along.get(place, ()), *words]))
    for place, words in along.items():
        if words:
            texts = [label(word) for word in words]
            figure.layout[place].update(tickmode="array", tickvals=words, ticktext=texts)
            if place == "yaxis":
                figure.layout.height += sum(LINE * text.count("<br>") for text in texts)
    return figure
