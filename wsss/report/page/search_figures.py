"""The page's plots of a search: how it went, and what each parameter did."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from wsss.report.page.content import Tried
from wsss.report.page.plot import (
    COLOURS,
    LETTERS,
    Plot,
    new_figure,
    series_line,
    series_marker,
    styled,
    whole_ticks,
)

LETTER = 7
"""Pixels that a letter takes, about."""
LEAST_FOR_IMPORTANCE = 6
"""Configurations below which nothing is said of what explains the scores."""


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

    figure = new_figure(height=360)
    cells = []
    for number, arm in enumerate(dict.fromkeys(one.arm for one in trials)):
        values = [100 * _value(one) for one in trials if one.arm == arm]
        best = list(itertools.accumulate(values, max))
        places = list(range(1, len(values) + 1))
        figure.add_trace(
            Scatter(x=places, y=best, name=arm, line={**series_line(number), "shape": "hv"}, legendgroup=arm)
        )
        marker = {**series_marker(number), "size": 6, "opacity": 0.5}
        figure.add_trace(
            Scatter(x=places, y=values, mode="markers", marker=marker, legendgroup=arm, showlegend=False)
        )
        cells.append((arm, str(len(values)), f"{max(values):.1f}", f"{min(values):.1f}"))
    figure.update_layout(xaxis_title="configurations tried", yaxis_title="select metric [%]")
    figure.update_xaxes(dtick=whole_ticks(max(int(tried) for _, tried, _, _ in cells)))
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
    figure = styled(
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
        if not numeric:
            words = _in_order(values)
            order = {"categoryorder": "array", "categoryarray": words}
            figure.update_xaxes(**order, row=number // across + 1, col=number % across + 1)
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
    figure = new_figure(height=380)
    figure.add_trace(Parcoords(dimensions=dimensions, line=line))
    first = [str(word) for word in dimensions[0].get("ticktext", ())]
    # This plot makes no room for words by itself.
    beside = max(min(len(names[0]), LETTERS) // 2, 8, *map(len, first))
    figure.update_layout(margin={"t": 60, "l": 20 + LETTER * beside, "r": 20})
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
    words = _in_order(values)
    places = [words.index(str(value)) for value in values]
    shown = [word if len(word) <= LETTERS else f"…{word[1 - LETTERS :]}" for word in words]
    return {"label": name, "values": places, "tickvals": list(range(len(words))), "ticktext": shown}


def _in_order(values: Iterable[Any]) -> list[str]:
    """Return each value once as a word, numbers in words by their size: `blocks9` before `blocks10`."""
    words = {str(value) for value in values}
    return sorted(words, key=_by_numbers)


def _by_numbers(word: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", word)]


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
