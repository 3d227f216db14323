"""The page's plots. Each has its numbers beside it as a table, for readers who can't see it."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from wsss.config.stage import scored_as
from wsss.metrics import THRESHOLDS
from wsss.report.comparison import Cell
from wsss.report.page.content import Content, Curve, Learning
from wsss.report.page.plot import COLOURS, Plot, new_figure, percent, series_bar, series_line, whole_ticks
from wsss.report.words.titles import baseline_title, difference_text
from wsss.stages.step_metrics import LOSS, MAP

REPORTED = "all on report"
"""A legend's entry; no arm has a name with blanks."""


def step_name(step: str) -> str:
    """Return a step's title: that of its stage, or the name that the study gave it."""
    how = scored_as(step)
    return step if how is None else how.title


def score_plots(content: Content) -> Iterator[Plot]:
    """Dots with intervals of every row, a plot a step."""
    from plotly.graph_objects import Scatter

    comparison = content.comparison
    for step in comparison.steps:
        floor = comparison.protocols[step].floor
        rows = [
            (t, r.cells[step], r)
            for t, r in zip(content.titles, comparison.rows, strict=True)
            if step in r.cells
        ]
        rows.reverse()  # plots are drawn from below
        figure = new_figure(height=60 + 34 * len(rows))
        for title, cell, row in rows:
            frozen = row.method == "probe" and not row.segments
            colour = COLOURS[1] if row.pixel_labels else COLOURS[2] if frozen else COLOURS[0]
            difference = cell.to_baseline
            stands = difference is not None and difference.significant
            figure.add_trace(
                Scatter(
                    x=[100 * cell.miou],
                    y=[title],
                    error_x={
                        "array": [100 * (cell.high - cell.miou)],
                        "arrayminus": [100 * (cell.miou - cell.low)],
                    },
                    marker={"size": 10, "color": colour, "symbol": "diamond" if stands else "circle"},
                    hovertemplate=f"{percent(cell.miou)} % {_interval(cell)}<extra></extra>",
                )
            )
        if floor is not None:
            figure.add_vline(x=100 * floor, line_dash="dot", line_color="#888", annotation_text="floor")
        figure.update_layout(showlegend=False, xaxis_title="mIoU [%]", margin={"t": 10})
        cells = tuple(
            (
                title,
                percent(cell.miou),
                _interval(cell),
                difference_text(cell.to_baseline),
                difference_text(cell.to_control),
            )
            for title, cell, _ in reversed(rows)
        )
        caption = (
            "Bars: 95 % interval over images, and over seeds where there are several. Diamond: the "
            f"difference to {baseline_title(comparison)} stands at 5 % after Holm's correction. "
            "Green: a linear head on frozen features is all that was trained. Orange: has seen pixel labels."
        )
        yield Plot(
            step_name(step), caption, figure, ("arm", "mIoU %", "interval", "Δ baseline", "Δ control"), cells
        )


def _interval(cell: Cell) -> str:
    return f"[{percent(cell.low)}, {percent(cell.high)}]"


def curve_plot(curves: Sequence[Curve]) -> Iterator[Plot]:
    """All threshold curves in one plot."""
    from plotly.graph_objects import Scatter

    if not curves:
        return
    figure = new_figure(height=420)
    first_reported = next((curve for curve in curves if curve.report), None)
    for number, curve in enumerate(curves):
        several = len({one.step for one in curves}) > 1
        name = f"{curve.title}, {step_name(curve.step)}" if several else curve.title
        line = {**series_line(number), "width": 2}
        values = [100 * value for value in curve.select]
        figure.add_trace(Scatter(x=list(THRESHOLDS), y=values, name=name, line=line, legendgroup=name))
        best = [100 * curve.select[_place(curve.chosen)]]
        marker = {"color": line["color"], "size": 9, "symbol": "x"}
        figure.add_trace(
            Scatter(
                x=[curve.chosen], y=best, mode="markers", marker=marker, legendgroup=name, showlegend=False
            )
        )
        if curve.report:
            reported = [100 * value for value in curve.report]
            figure.add_trace(
                Scatter(
                    x=list(THRESHOLDS),
                    y=reported,
                    name=REPORTED,
                    line={**line, "width": 1},
                    visible="legendonly",
                    legendgroup=REPORTED,
                    showlegend=curve is first_reported,
                    hovertemplate=f"{html.escape(name)}, report: %{{y:.1f}}<extra></extra>",
                )
            )
    figure.update_layout(xaxis_title="CAM threshold", yaxis_title="mIoU on select [%]")
    cells = tuple(
        (
            one.title,
            step_name(one.step),
            f"{one.chosen:.2f}",
            percent(max(one.select)),
            percent(max(one.report, default=math.nan)),
        )
        for one in curves
    )
    caption = (
        "On the images that thresholds are chosen on; a cross marks the choice. Curves on reported images, "
        f"thin, are hidden until you click {REPORTED} in the legend: nothing may be chosen by them."
    )
    columns = ("arm", "step", "threshold", "best on select %", "best on report %")
    yield Plot("mIoU at every threshold", caption, figure, columns, cells)


def _place(threshold: float) -> int:
    return min(range(len(THRESHOLDS)), key=lambda number: abs(THRESHOLDS[number] - threshold))


def class_plots(content: Content) -> Iterator[Plot]:
    """The last step's IoU of every class, and how its masks are wrong."""
    from plotly.graph_objects import Bar

    comparison = content.comparison
    for step in comparison.steps[-1:]:
        rows = [
            (t, r.cells[step])
            for t, r in zip(content.titles, comparison.rows, strict=True)
            if step in r.cells
        ]
        classes = comparison.per_class
        figure = new_figure(height=420)
        for number, (title, cell) in enumerate(rows):
            values = [None if (v := cell.per_class.get(name)) is None else 100 * v for name in classes]
            figure.add_trace(Bar(x=list(classes), y=values, name=title, marker=series_bar(number)))
        figure.update_layout(barmode="group", yaxis_title="IoU [%]")
        cells = tuple((name, *(percent(cell.per_class.get(name)) for _, cell in rows)) for name in classes)
        columns = ("class", *(title for title, _ in rows))
        yield Plot(f"Classes: {step_name(step)}", "IoU of every class.", figure, columns, cells)
        parts: Mapping[str, Callable[[Any], float | None]] = {
            "background taken for a class": lambda cell: cell.false_positive,
            "a class taken for background": lambda cell: cell.false_negative,
            "one class taken for another": lambda cell: cell.confused,
        }
        figure = new_figure(height=110 + 34 * len(rows))
        for number, (name, read) in enumerate(parts.items()):
            shares = [None if (v := read(cell)) is None else 100 * v for _, cell in reversed(rows)]
            titles = [title for title, _ in reversed(rows)]
            colour = COLOURS[(1, 0, 4)[number]]
            figure.add_trace(Bar(x=shares, y=titles, name=name, orientation="h", marker_color=colour))
        figure.update_layout(barmode="stack", xaxis_title="share of pixels [%]")
        cells = tuple((title, *(percent(read(cell)) for read in parts.values())) for title, cell in rows)
        yield Plot(f"Errors: {step_name(step)}", "How masks are wrong.", figure, ("arm", *parts), cells)


def learning_plots(learning: Sequence[Learning]) -> Iterator[Plot]:
    """Loss and hold-out mAP of every network, epoch by epoch."""
    from plotly.graph_objects import Scatter

    for metric, axis in ((LOSS, "loss"), (MAP, "hold-out mAP")):
        mine = [one for one in learning if metric in one.metrics]
        if not mine:
            continue
        figure = new_figure(height=380)
        for number, one in enumerate(mine):
            values = list(one.metrics[metric])
            name, line = f"{one.title}, {one.label}", series_line(number)
            figure.add_trace(Scatter(x=list(range(1, len(values) + 1)), y=values, name=name, line=line))
        figure.update_layout(xaxis_title="epoch", yaxis_title=axis)
        figure.update_xaxes(dtick=whole_ticks(max(len(one.metrics[metric]) for one in mine)))
        cells = tuple(
            (one.trial, one.label, str(len(one.metrics[metric])), f"{one.metrics[metric][-1]:.3f}")
            for one in mine
        )
        caption = "What networks reported after each epoch; a dozen trials at most, those of the table first."
        columns = ("trial", "network", "epochs", "last")
        yield Plot(f"Learning: {axis}", caption, figure, columns, cells)
