"""The page's plots. Each has its numbers beside it as a table, for readers who can't see it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wsss.config.stage import scored_as
from wsss.metrics import THRESHOLDS
from wsss.report.comparison import Cell
from wsss.report.notes import difference_text
from wsss.report.page.content import Content, Curve, Learning, Tried

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#7F7F7F")
"""Okabe and Ito's, which people with any colour vision tell apart."""
GRID = "rgba(128,128,128,0.25)"
LEAST_FOR_IMPORTANCE = 6


@dataclass(frozen=True)
class Plot:
    """A figure, what it shows, and its numbers as a table."""

    title: str
    caption: str
    figure: Figure
    columns: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]


def step_name(step: str) -> str:
    """Return a step's title: that of its stage, or the name that the study gave it."""
    how = scored_as(step)
    return step if how is None else how.title


def percent(value: float | None, digits: int = 1) -> str:
    """Return a share as percent, and nothing for none."""
    return "" if value is None or math.isnan(value) else f"{100 * value:.{digits}f}"


def score_plots(content: Content) -> Iterator[Plot]:
    """Dots with intervals of every row, a plot a step."""
    from plotly.graph_objects import Figure, Scatter

    comparison = content.comparison
    for step in comparison.steps:
        floor = comparison.protocols[step].floor
        rows = [
            (t, r.cells[step], r)
            for t, r in zip(content.titles, comparison.rows, strict=True)
            if step in r.cells
        ]
        rows.reverse()  # plots are drawn from below
        figure = _figure(height=90 + 34 * len(rows))
        for title, cell, row in rows:
            colour = COLOURS[1] if row.pixel_labels else COLOURS[2] if row.method == "probe" else COLOURS[0]
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
        figure.update_layout(showlegend=False, xaxis_title="mIoU [%]")
        assert isinstance(figure, Figure)
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
            "Bars: 95 % interval over images, and over seeds where there are several. Diamond: the difference "
            f"to {comparison.baseline} stands at 5 % after Holm's correction. Green: no network trained. "
            "Orange: has seen pixel labels."
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
    figure = _figure(height=420)
    for number, curve in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        several = len({one.step for one in curves}) > 1
        name = f"{curve.title}, {step_name(curve.step)}" if several else curve.title
        line = {"color": colour, "width": 2}
        values = [100 * value for value in curve.select]
        figure.add_trace(Scatter(x=list(THRESHOLDS), y=values, name=name, line=line, legendgroup=name))
        best = [100 * curve.select[_place(curve.chosen)]]
        marker = {"color": colour, "size": 9, "symbol": "x"}
        figure.add_trace(
            Scatter(
                x=[curve.chosen], y=best, mode="markers", marker=marker, legendgroup=name, showlegend=False
            )
        )
        if curve.report:
            dashed = {**line, "dash": "dot", "width": 1}
            reported = [100 * value for value in curve.report]
            figure.add_trace(
                Scatter(
                    x=list(THRESHOLDS), y=reported, name=f"{name}, report", line=dashed, visible="legendonly"
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
        "On the images that thresholds are chosen on; a cross marks the choice. Curves on reported images "
        "are hidden until you click them in the legend: nothing may be chosen by them."
    )
    columns = ("arm", "step", "threshold", "best on select %", "best on report %")
    yield Plot("Threshold curves", caption, figure, columns, cells)


def _place(threshold: float) -> int:
    return min(range(len(THRESHOLDS)), key=lambda number: abs(THRESHOLDS[number] - threshold))


def search_plots(tried: Sequence[Tried]) -> Iterator[Plot]:
    """How each search went: the best so far, and each parameter against the score."""
    scored = [one for one in tried if one.value is not None and one.params]
    for (study, sweep), group in itertools.groupby(scored, key=lambda one: (one.study, one.sweep)):
        trials = list(group)
        yield _best_so_far(study, sweep, trials)
        for arm in dict.fromkeys(one.arm for one in trials):
            mine = [one for one in trials if one.arm == arm]
            if len(mine) > 1:
                yield _parameters(f"{study}, {sweep}, {arm}", mine)
                yield from _parallel(f"{study}, {sweep}, {arm}", mine)


def _best_so_far(study: str, sweep: str, trials: Sequence[Tried]) -> Plot:
    from plotly.graph_objects import Scatter

    figure = _figure(height=360)
    cells = []
    for number, arm in enumerate(dict.fromkeys(one.arm for one in trials)):
        values = [100 * _value(one) for one in trials if one.arm == arm]
        best = list(itertools.accumulate(values, max))
        colour = COLOURS[number % len(COLOURS)]
        places = list(range(1, len(values) + 1))
        figure.add_trace(
            Scatter(x=places, y=best, name=arm, line={"color": colour, "shape": "hv"}, legendgroup=arm)
        )
        marker = {"color": colour, "size": 6, "opacity": 0.5}
        figure.add_trace(
            Scatter(x=places, y=values, mode="markers", marker=marker, legendgroup=arm, showlegend=False)
        )
        cells.append((arm, str(len(values)), f"{max(values):.1f}", f"{min(values):.1f}"))
    figure.update_layout(xaxis_title="configurations tried", yaxis_title="select metric [%]")
    caption = (
        "Line: the best so far. Dots: each configuration. An arm that was tried more often had more chances."
    )
    return Plot(
        f"Search of {study}, {sweep}", caption, figure, ("arm", "tried", "best %", "worst %"), tuple(cells)
    )


def _value(one: Tried) -> float:
    assert one.value is not None
    return one.value


def _parameters(title: str, trials: Sequence[Tried]) -> Plot:
    """Each parameter against the score."""
    from plotly.graph_objects import Scatter
    from plotly.subplots import make_subplots

    names = list(dict.fromkeys(name for one in trials for name in one.params))
    across = min(3, len(names))
    down = -(-len(names) // across)
    figure = _styled(
        make_subplots(down, across, subplot_titles=names, vertical_spacing=0.35 / down), 260 * down + 60
    )
    for number, name in enumerate(names):
        mine = [one for one in trials if name in one.params]
        values = [one.params[name] for one in mine]
        numeric = all(_is_number(value) for value in values)
        figure.add_trace(
            Scatter(
                x=values if numeric else [str(value) for value in values],
                y=[100 * _value(one) for one in mine],
                mode="markers",
                text=[one.id for one in mine],
                marker={"color": COLOURS[0], "size": 8},
            ),
            row=number // across + 1,
            col=number % across + 1,
        )
        if numeric and min(values) > 0 and max(values) > 30 * min(values):
            figure.update_xaxes(type="log", row=number // across + 1, col=number % across + 1)
    figure.update_layout(showlegend=False)
    cells = tuple(
        (one.id, *(_short(one.params.get(name, "")) for name in names), f"{100 * _value(one):.1f}")
        for one in trials
    )
    caption = "Each parameter of the search against the metric on select images."
    important = _importance(trials)
    if important:
        shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in important.items())
        caption += f" Share of the spread that each explains (fANOVA of Optuna): {shares}."
    return Plot(f"Parameters: {title}", caption, figure, ("trial", *names, "score %"), cells)


def _parallel(title: str, trials: Sequence[Tried]) -> Iterator[Plot]:
    """All parameters side by side, a line a configuration."""
    from plotly.graph_objects import Parcoords

    names = list(dict.fromkeys(name for one in trials for name in one.params))
    whole = [one for one in trials if all(name in one.params for name in names)]
    if len(names) < 2 or len(whole) < 3:
        return
    dimensions = [_dimension(name, [one.params[name] for one in whole]) for name in names]
    scores = [100 * _value(one) for one in whole]
    dimensions.append({"label": "score %", "values": scores})
    line = {"color": scores, "colorscale": "Viridis", "showscale": True}
    figure = _figure(height=380)
    figure.add_trace(Parcoords(dimensions=dimensions, line=line))
    figure.update_layout(margin={"t": 60})
    caption = "A line a configuration, bright where the score is high. Drag along an axis to choose a range."
    cells = tuple(
        (one.id, *(_short(one.params[n]) for n in names), f"{100 * _value(one):.1f}") for one in whole
    )
    yield Plot(f"Configurations: {title}", caption, figure, ("trial", *names, "score %"), cells)


def _dimension(name: str, values: Sequence[Any]) -> dict[str, Any]:
    if all(_is_number(value) for value in values):
        if min(values) > 0 and max(values) > 30 * min(values):
            return {"label": f"log10 {name}", "values": [math.log10(value) for value in values]}
        return {"label": name, "values": list(values)}
    words = list(dict.fromkeys(str(value) for value in values))
    places = [words.index(str(value)) for value in values]
    return {"label": name, "values": places, "tickvals": list(range(len(words))), "ticktext": words}


def _importance(trials: Sequence[Tried]) -> dict[str, float]:
    """Return the share of the scores' variance that each parameter explains; nothing from a few trials."""
    names = [name for name in trials[0].params if len({str(one.params.get(name)) for one in trials}) > 1]
    whole = [one for one in trials if all(name in one.params for name in names)]
    if len(names) < 2 or len(whole) < LEAST_FOR_IMPORTANCE or len({one.value for one in whole}) < 2:
        return {}
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spaces: dict[str, Any] = {}
    for name in names:
        values = [one.params[name] for one in whole]
        if all(_is_number(value) for value in values):
            spaces[name] = optuna.distributions.FloatDistribution(float(min(values)), float(max(values)))
        else:
            spaces[name] = optuna.distributions.CategoricalDistribution(
                sorted({str(value) for value in values})
            )
    study = optuna.create_study(direction="maximize")
    for one in whole:
        params = {
            name: float(one.params[name])
            if isinstance(spaces[name], optuna.distributions.FloatDistribution)
            else str(one.params[name])
            for name in names
        }
        study.add_trial(optuna.create_trial(params=params, distributions=spaces, value=_value(one)))
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


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
        figure = _figure(height=420)
        for number, (title, cell) in enumerate(rows):
            values = [None if (v := cell.per_class.get(name)) is None else 100 * v for name in classes]
            colour = COLOURS[number % len(COLOURS)]
            figure.add_trace(Bar(x=list(classes), y=values, name=title, marker_color=colour))
        figure.update_layout(barmode="group", yaxis_title="IoU [%]")
        cells = tuple((name, *(percent(cell.per_class.get(name)) for _, cell in rows)) for name in classes)
        columns = ("class", *(title for title, _ in rows))
        yield Plot(f"Classes: {step_name(step)}", "IoU of every class.", figure, columns, cells)
        parts: Mapping[str, Callable[[Any], float | None]] = {
            "background taken for a class": lambda cell: cell.false_positive,
            "a class taken for background": lambda cell: cell.false_negative,
            "one class taken for another": lambda cell: cell.confused,
        }
        figure = _figure(height=110 + 34 * len(rows))
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

    for metric, axis in (("loss", "loss"), ("mAP", "hold-out mAP")):
        mine = [one for one in learning if metric in one.metrics]
        if not mine:
            continue
        figure = _figure(height=380)
        for number, one in enumerate(mine):
            values = list(one.metrics[metric])
            line = {
                "color": COLOURS[number % len(COLOURS)],
                "dash": ("solid", "dash")[number // len(COLOURS) % 2],
            }
            name = f"{one.trial}, {one.label}"
            figure.add_trace(Scatter(x=list(range(1, len(values) + 1)), y=values, name=name, line=line))
        figure.update_layout(xaxis_title="epoch", yaxis_title=axis)
        cells = tuple(
            (one.trial, one.label, str(len(one.metrics[metric])), f"{one.metrics[metric][-1]:.3f}")
            for one in mine
        )
        caption = "What networks reported after each epoch; a dozen trials at most, those of the table first."
        columns = ("trial", "network", "epochs", "last")
        yield Plot(f"Learning: {axis}", caption, figure, columns, cells)


def _figure(*, height: int) -> Figure:
    from plotly.graph_objects import Figure

    return _styled(Figure(), height)


def _styled(figure: Figure, height: int) -> Figure:
    """Return a figure that fits the page in light and in dark."""
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "yanchor": "top", "y": -0.2},
        font={"family": "system-ui, sans-serif", "size": 13},
    )
    figure.update_xaxes(gridcolor=GRID, zeroline=False, automargin=True)
    figure.update_yaxes(gridcolor=GRID, zeroline=False, automargin=True)
    return figure
