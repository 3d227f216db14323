"""The page's plots of tuning: what the best of k configurations reports, and what fewer masks would have."""

from __future__ import annotations

from collections.abc import Iterator

from wsss.report.page.plot import Plot, new_figure, percent, series_line, series_marker
from wsss.report.tuned.rows import Tuning


def tuning_plots(found: Tuning) -> Iterator[Plot]:
    """One plot a sweep in which several configurations were tried, and one of choosing with fewer masks."""
    for study, sweep in dict.fromkeys((row.study, row.sweep) for row in found.rows if row.tried > 1):
        yield _best_of(found, study, sweep)
    if any(len(row.few_masks) > 1 for row in found.rows):
        yield _few_masks(found)


def _best_of(found: Tuning, study: str, sweep: str) -> Plot:
    from plotly.graph_objects import Scatter

    figure = new_figure(height=420)
    cells = []
    rows = [row for row in found.rows if (row.study, row.sweep) == (study, sweep)]
    for number, row in enumerate(rows):
        points = row.best_of
        bars = {
            "array": [100 * (point.high - point.score) for point in points],
            "arrayminus": [100 * (point.score - point.low) for point in points],
            "thickness": 1,
        }
        tried, scores = [point.k for point in points], [100 * point.score for point in points]
        line, marker = series_line(number), series_marker(number)
        figure.add_trace(
            Scatter(
                x=tried,
                y=scores,
                error_y=bars,
                name=row.arm,
                line=line,
                marker=marker,
                mode="lines+markers",
            )
        )
        cells += [
            (row.arm, str(point.k), percent(point.score), f"[{percent(point.low)}, {percent(point.high)}]")
            for point in points
        ]
    figure.update_layout(xaxis_title="configurations tried", yaxis_title="expected mIoU of the best [%]")
    marked = [row.arm for row in rows if row.only_with_more]
    caption = (
        "What the configuration that `select` ranks first of so many reports, on average over all ways to "
        "try them. Bars: 95 % interval over images. Compare arms at equal numbers of configurations."
    )
    if marked:
        named = ", ".join(marked)
        caption += f" The difference of {named} to {found.baseline} appears only with unequal tuning."
    columns = ("arm", "tried", "mIoU %", "interval")
    return Plot(f"Best of k, {study}: {sweep}", caption, figure, columns, tuple(cells))


def _few_masks(found: Tuning) -> Plot:
    from plotly.graph_objects import Scatter

    figure = new_figure(height=420)
    cells = []
    rows = [row for row in found.rows if row.few_masks]
    for number, row in enumerate(rows):
        names = [str(one.masks) if one.masks else "all" for one in row.few_masks]
        name = f"{row.sweep}: {row.arm}"
        line, marker = series_line(number), series_marker(number)
        scores = [100 * one.score for one in row.few_masks]
        figure.add_trace(
            Scatter(x=names, y=scores, name=name, line=line, marker=marker, mode="lines+markers")
        )
        cells += [
            (name, masks, f"{one.images:.0f}", percent(one.score), percent(one.unlucky))
            for masks, one in zip(names, row.few_masks, strict=True)
        ]
    figure.update_layout(
        xaxis_title="select masks a class", yaxis_title="expected mIoU [%]", xaxis_type="category"
    )
    caption = (
        "What choosing threshold and configuration with so many masks of each class would have reported, on "
        "average over ways to draw them; one draw in twenty reports the last column or less."
    )
    columns = ("sweep and arm", "masks a class", "images", "mIoU %", "unlucky %")
    return Plot("Choosing with fewer masks", caption, figure, columns, tuple(cells))
