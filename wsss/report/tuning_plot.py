"""The picture of the best of k: one panel a sweep, one line an arm."""

from __future__ import annotations

from pathlib import Path

from wsss.errors import ConfigError, Problem
from wsss.report.tuning import Tuning


def draw_tuning(path: Path, found: Tuning) -> None:
    """Draw expected mIoU over the number of configurations tried, with intervals over images.

    Raises `ConfigError` when there is nothing to draw, or the file can't be written.

    Args:
        path: of the PNG file.
        found: what the storage tells.
    """
    panels = list(dict.fromkeys((row.study, row.sweep) for row in found.rows if row.best_of))
    if not panels:
        raise ConfigError(Problem("--plot", "no configuration has a score: there is nothing to draw"))
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6, 3.8 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), squeeze=False)[:, 0]
    for axis, (study, sweep) in zip(axes, panels, strict=True):
        for row in found.rows:
            if (row.study, row.sweep) != (study, sweep) or not row.best_of:
                continue
            tried = [point.k for point in row.best_of]
            (line,) = axis.plot(tried, [100 * point.score for point in row.best_of], ".-", label=row.arm)
            low, high = ([100 * getattr(point, end) for point in row.best_of] for end in ("low", "high"))
            axis.fill_between(tried, low, high, color=line.get_color(), alpha=0.12, linewidth=0)
        axis.set_title(f"{study}, {sweep}", fontsize=10)
        axis.set_xlabel("configurations tried")
        axis.set_ylabel("mIoU of the best [%]")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.legend()
    try:
        figure.savefig(path, dpi=110, format="png")
    except OSError as error:
        raise ConfigError(Problem(str(path), error.strerror or str(error))) from error
