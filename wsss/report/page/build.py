"""A page put together: content, plots, photos and the template."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from wsss import __version__
from wsss.addresses import shown
from wsss.config import dump_study
from wsss.config.text.location import Location
from wsss.files import write_atomic
from wsss.report.page import figures
from wsss.report.page.answer import answers
from wsss.report.page.content import Content, read_content
from wsss.report.page.gallery import WRONG, galleries
from wsss.report.page.plot import Plot, named
from wsss.report.page.search_figures import search_plots
from wsss.report.page.tuning_figures import tuning_plots
from wsss.report.tuned.rows import tuning
from wsss.report.words.notes import notes


def write_page(location: Location, names: Sequence[str], path: Path, baseline: str | None = None) -> Path:
    """Write one HTML file that tells what studies found, and return its path.

    Args:
        location: the storage.
        names: of the studies.
        path: the file, which is replaced if it is there.
        baseline: the arm that others are held against; the plain CAM arm when None.

    Raises `ConfigError` for an unknown study or baseline, `StorageError` where the file can't be written.
    """
    content = read_content(location, names, baseline)
    write_atomic(path, render(content).encode())
    return path


def render(content: Content) -> str:
    """Return the page as HTML."""
    from jinja2 import Environment
    from plotly.offline import get_plotlyjs

    folder = files("wsss.report.page")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((folder / "page.html").read_text(encoding="utf-8"))
    comparison = content.comparison
    sections = {
        "Tuning": tuning_plots(
            tuning(content.storage.location, list(content.studies), comparison.baseline or None)
        ),
        "Search": search_plots(content.tried()),
        "Classes and errors": figures.class_plots(content),
        "Learning curves": figures.learning_plots(content.learning()),
    }
    return template.render(
        title=", ".join(content.studies),
        style=(folder / "page.css").read_text(encoding="utf-8"),
        script=(folder / "page.js").read_text(encoding="utf-8"),
        plotly=get_plotlyjs(),
        answers=answers(comparison, content.titles),
        scores=_drawn(figures.score_plots(content)),
        notes=_without_home(notes(comparison)).splitlines(),
        galleries=[replace(one, missing=_without_home(one.missing)) for one in galleries(content)],
        wrong=WRONG,
        curves=_drawn(figures.curve_plot(content.curves())),
        sections={title: drawn for title, plots in sections.items() if (drawn := _drawn(plots))},
        lineage=content.lineage(),
        costs=content.costs(),
        environment=content.environment(),
        commands=[_without_home(command) for command in _commands(content)],
        files={name: _without_home(dump_study(study)) for name, study in content.studies.items()},
        storage=_without_home(shown(str(content.storage.location))),
        version=__version__,
        time=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
    )


def _drawn(plots: Iterable[Plot]) -> list[dict[str, Any]]:
    """Return plots with their figures as JSON, which the page's script draws once they come into view."""
    from markupsafe import Markup

    # "<" is written as an escape, so that no text of a study can end the element that holds the JSON.
    texts = [(plot, named(plot.figure).to_json().replace("<", "\\u003c")) for plot in plots]
    return [{"plot": plot, "json": Markup(text)} for plot, text in texts]  # noqa: S704


def _without_home(text: str) -> str:
    """Return a text with `~` for the person's own folder, whose path has a name: a page is sent to others."""
    home = Path.home()
    return text if home == Path(home.anchor) else re.sub(rf"{re.escape(str(home))}(?![\w.-])", "~", text)


def _commands(content: Content) -> list[str]:
    where = ["--storage", shown(str(content.storage.location))]
    names = list(content.studies)
    lines = [shlex.join(["wsss", "run", f"{name}.yaml", *where]) for name in names]
    lines.append(shlex.join(["wsss", "compare", *names, *where]))
    lines.append(shlex.join(["wsss", "report", *names, *where, "-o", "report.html"]))
    return lines
