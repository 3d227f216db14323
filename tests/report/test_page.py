"""The page of a finished study: what it says, that it is one file, and that a browser draws all of it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from command_line import in_process
from made_up import FAIR, GOOD, Storage

from wsss.metrics import THRESHOLDS
from wsss.metrics.best_of import BestOf
from wsss.report.comparison import Cell, Comparison, Difference, Protocol, Row
from wsss.report.page.answer import answers
from wsss.report.page.build import render
from wsss.report.page.content import Curve, Tried, read_content
from wsss.report.page.figures import class_plots, curve_plot
from wsss.report.page.gallery import WRONG, Card, Shown, _chosen, _errors, _heat
from wsss.report.page.plot import LETTERS, named, new_figure
from wsss.report.page.search_figures import _importance, search_plots
from wsss.report.page.tuning_figures import tuning_plots
from wsss.report.tuned.rows import Tuning, TuningRow

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
PROTOCOL = Protocol("cams", "report", 8, labels=True, floor=0.3, comparable=True)


def row(arm: str, miou: float, difference: Difference | None = None, **more: Any) -> Row:
    cells = {"cams": Cell(miou, miou - 0.02, miou + 0.02, to_baseline=difference)}
    return Row("s", arm, "cam", arm, (1,), {}, "done", "", cells, **more)


def compared(*rows: Row) -> tuple[Comparison, tuple[str, ...]]:
    comparison = Comparison(rows, ("cams",), {"cams": PROTOCOL}, "baseline", ("background", "cat"))
    return comparison, tuple(one.arm for one in rows)


def test_the_answer_names_no_leader_among_rows_of_other_images() -> None:
    comparison, titles = compared(row("baseline", 0.5), row("fmix", 0.6))
    apart = replace(comparison.protocols["cams"], comparable=False)
    said = answers(replace(comparison, protocols={"cams": apart}), titles)
    assert said[0].endswith("not all scored on the same images and classes, so that none leads.")


def test_the_answer_says_what_a_leader_of_other_labels_rests_on() -> None:
    texts = replace(
        row("clip", 0.6, Difference(0.1, 0.08, 0.12, 0.01, 0.02, across=True)), supervision=("text",)
    )
    comparison, titles = compared(replace(row("baseline", 0.5), supervision=("image",)), texts)
    assert (
        "which stands at 5 % after correction. It rests on other labels (text)"
        in answers(comparison, titles)[0]
    )


def test_the_answer_says_who_took_part() -> None:
    """A step that only some arms have says nothing of others."""
    comparison, titles = compared(row("a", 0.5), row("b", 0.6), row("other", 0.7))
    without = replace(comparison.rows[2], cells={})
    said = answers(replace(comparison, rows=(*comparison.rows[:2], without), baseline="other"), titles)
    assert said[0] == "CAM: b leads the 2 rows that have it with 60.0 % mIoU [58.0, 62.0]."
    (said,) = answers(replace(comparison, rows=(*comparison.rows[:2], without), baseline="b"), titles)
    assert said == "CAM: of the 2 rows that have it none beats b, which reaches 60.0 % mIoU [58.0, 62.0]."


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row("baseline", 0.5)], "CAM: baseline reaches 50.0 % mIoU [48.0, 52.0]."),
        (
            [row("baseline", 0.5), row("fmix", 0.45, Difference(-0.05, -0.08, -0.02, 0.01))],
            "CAM: nothing beats baseline, which reaches 50.0 % mIoU [48.0, 52.0].",
        ),
        (
            [row("baseline", 0.5), row("fmix", 0.53, Difference(0.03, -0.01, 0.07, 0.2))],
            "CAM: fmix leads with 53.0 % mIoU [51.0, 55.0], but +3.0 points to baseline [-1.0, +7.0] does not stand: "
            "it may be chance.",
        ),
        (
            [row("baseline", 0.5), row("fmix", 0.53, Difference(0.03, 0.01, 0.05, 0.01, seeds=1))],
            "CAM: fmix leads with 53.0 % mIoU [51.0, 55.0], +3.0 points to baseline [+1.0, +5.0] over images alone: it "
            "takes more seeds, or images, to say whether that stands.",
        ),
        (
            [row("baseline", 0.5), row("fmix", 0.53, Difference(0.03, 0.01, 0.05, 0.01, 0.02))],
            "CAM: fmix leads with 53.0 % mIoU [51.0, 55.0], +3.0 points to baseline [+1.0, +5.0], which stands at 5 % "
            "after correction.",
        ),
        (
            [row("baseline", 0.5), row("full_masks", 0.8, pixel_labels=("segmenter was trained on masks",))],
            "CAM: baseline reaches 50.0 % mIoU [48.0, 52.0].",
        ),
    ],
)
def test_the_answer_claims_no_more_than_the_interval_allows(rows: list[Row], said: str) -> None:
    comparison, titles = compared(*rows)
    assert answers(comparison, titles) == [said]


def tried(number: int, value: float | None, **params: Any) -> Tried:
    return Tried("s", "cam", "fmix", f"cam-fmix-{number:03d}", params, value, "done")


def test_the_parameter_that_alone_matters_gets_the_importance() -> None:
    rng = np.random.default_rng(0)
    values = rng.random((24, 2))
    trials = [tried(n, float(a), alpha=float(a), decay=float(b)) for n, (a, b) in enumerate(values)]
    found = _importance(trials)
    assert found["alpha"] > 0.9 and sum(found.values()) == pytest.approx(1)
    assert _importance(trials[:3]) == {}, "nothing can be said from three"


def test_a_search_is_drawn_with_what_was_best_so_far_and_never_with_what_has_no_score() -> None:
    scores = [0.2, 0.4, None, 0.3]
    trials = [tried(n, value, alpha=0.1 * (n + 1), kind="ab"[n % 2]) for n, value in enumerate(scores)]
    plots = list(search_plots(trials))
    best, dots = plots[0].figure.data[:2]
    assert list(best.y) == [20, 40, 40] and list(dots.y) == [20, 40, 30]
    assert [plot.title.split(":")[0] for plot in plots[1:]] == ["Parameters", "Configurations"]
    assert [cells[0] for cells in plots[1].cells] == ["cam-fmix-000", "cam-fmix-001", "cam-fmix-003"]


def looks(trace: Any) -> tuple[Any, ...]:
    """All by which an eye tells a series from others."""
    if trace.type == "scatter":
        return trace.line.color, trace.line.dash, trace.marker.symbol
    return trace.marker.color, trace.marker.pattern.shape


def test_a_dozen_arms_can_be_told_apart() -> None:
    """There are eight colours."""
    arms = [f"arm{number}" for number in range(12)]
    trials = [replace(tried(n, 0.5, lr=0.1 * (n + 1)), arm=arm) for arm in arms for n in range(2)]
    best = [trace for trace in next(iter(search_plots(trials))).figure.data if trace.name]
    points = (BestOf(1, 0.5, 0.4, 0.6),)
    rows = tuple(
        TuningRow("s", "cam", arm, "cams", 2, 2, 1, True, points, {}, None, False, (), ()) for arm in arms
    )
    (tuned,) = tuning_plots(Tuning(rows, "arm0"))
    comparison, titles = compared(*(row(arm, 0.5) for arm in arms))
    content = cast(Any, SimpleNamespace(comparison=comparison, titles=titles))
    bars = next(iter(class_plots(content))).figure.data
    chosen = [Curve(arm, "cams", (0.5,) * len(THRESHOLDS), (0.5,) * len(THRESHOLDS), 0.3) for arm in arms]
    curves = [trace for trace in next(curve_plot(chosen)).figure.data if trace.name in arms]
    for drawn in (best, tuned.figure.data, bars, curves):
        assert len({looks(trace) for trace in drawn}) == len(drawn) == 12


def test_words_beside_an_axis_have_room() -> None:
    """The plot of configurations would cut off what stands left of its first axis."""
    for path, least in (("", 13), ("/a/folder" * 20, 24)):
        trials = [tried(n, 0.1 * n, freeze=f"{path}a_long_word_{n}", lr=0.1) for n in range(3)]
        (plot,) = [plot for plot in search_plots(trials) if plot.title.startswith("Configurations")]
        (words,) = [one.ticktext for one in plot.figure.data[0].dimensions if one.ticktext]
        assert len(set(words)) == 3 and max(map(len, words)) <= LETTERS
        assert 7 * least <= plot.figure.layout.margin.l < 200, "and the plot has some, too"


def test_words_along_an_axis_are_in_order() -> None:
    trials = [tried(n, 0.1, freeze=word) for n, word in enumerate(("blocks4", "blocks10", "none", "blocks5"))]
    (plot,) = [plot for plot in search_plots(trials) if plot.title.startswith("Parameters")]
    assert list(plot.figure.layout.xaxis.categoryarray) == ["blocks4", "blocks5", "blocks10", "none"]


def test_curves_on_report_take_one_place_in_the_legend() -> None:
    flat = (0.5,) * len(THRESHOLDS)
    plot = next(curve_plot([Curve(arm, "cams", flat, flat, 0.3) for arm in ("cam", "fmix")]))
    entries = [trace.name for trace in plot.figure.data if trace.name and trace.showlegend is not False]
    assert entries == ["cam", "all on report", "fmix"]


def test_an_arm_s_steps_are_shown_together() -> None:
    cards = [Card(arm, step, "", "", "") for arm in ("cam", "fmix") for step in ("CAM", "mask")]
    shown = Shown("a", "", "", "", "", tuple(cards))
    assert shown.arms == [("cam", tuple(cards[:2])), ("fmix", tuple(cards[2:]))] and shown.steps == 2


def test_every_kind_of_error_has_its_colour() -> None:
    truth = np.array([[0, 0, 1, 1, 1, 255]], np.uint8)
    mask = np.array([[0, 1, 0, 1, 2, 1]], np.uint8)
    grey = np.full((1, 6, 3), 100, np.uint8)
    found = _errors(grey, mask, truth)[0].astype(int)
    base = 100 * 0.6 + 60
    for place, kind in ((1, "extra"), (2, "missed"), (3, "right"), (4, "other")):
        expected = 0.35 * base + 0.65 * np.array(WRONG[kind])
        assert abs(found[place] - expected).max() <= 1
    assert (found[[0, 5]] == int(base)).all(), "background that is right, and ignored pixels, stay grey"
    low, high = _heat(grey[:, :2], np.array([[0.0, 1.0]]))[0].astype(int)
    assert low[2] > low[0] and high[0] > high[2], "from blue to red"


def test_worst_middle_and_best_photos_are_chosen() -> None:
    ranked = {f"i{n:02d}": n / 20 for n in range(20)}
    assert list(_chosen(ranked)) == ["i00", "i01", "i02", "i09", "i10", "i17", "i18", "i19"]
    assert _chosen({"a": 0.5}) == {"a": "mIoU 50 %"}


def test_long_names_leave_room_for_the_plot_and_are_no_html() -> None:
    arms = [f"{'a' * 100}{n} <b>" for n in range(2)]
    figure = new_figure(height=100)
    for arm in arms:
        figure.add_trace({"type": "scatter", "x": [1.0], "y": [arm], "name": arm})
    found = named(figure).layout
    assert list(found.yaxis.tickvals) == arms, "they stay apart"
    for text in (*found.yaxis.ticktext, *(trace.name for trace in figure.data)):
        assert max(map(len, text.split("<br>"))) <= LETTERS and "<b>" not in text
    assert found.height > 100
    many = new_figure(height=100)
    for number in range(60):
        many.add_trace({"type": "bar", "x": ["cat"], "y": [0.5], "name": f"arm{number}"})
    assert named(many).layout.height > 300, "the legend takes none of the plot's room"


def test_rows_that_are_called_alike_have_titles_of_their_own(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    for number in range(2):
        storage.trial("fmix", storage.scores([FAIR, GOOD]), id=f"cam-fmix-00{number}", params={"lr": 0.01})
    titles = read_content(tmp_path, ["made"]).titles
    assert titles == ("fmix (lr 0.01), cam-fmix-000", "fmix (lr 0.01), cam-fmix-001")


def test_a_page_that_is_sent_to_others_names_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home" / "zebedee.smith"
    (home / "runs" / "studies" / "made").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    storage = Storage(home / "runs")
    storage.data = {"dataset": "folder", "root": str(home / "photos")}
    storage.study("made", ["baseline"])
    storage.trial("baseline", storage.scores([FAIR, GOOD]))
    text = render(read_content(home / "runs", ["made"]))
    assert "zebedee" not in text
    assert "~/runs" in text and "~/photos" in text


@pytest.fixture(scope="module")
def page(tiny_study_text: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page that a run of a tiny study has written."""
    folder = tmp_path_factory.mktemp("page")
    text = tiny_study_text.replace("name: tiny", "name: tiny")
    (folder / "tiny.yaml").write_text(text)
    run = in_process("run", folder / "tiny.yaml", "--local", "--storage", folder / "runs")
    assert run.returncode == 0, run.stderr
    (line,) = [line for line in run.stdout.splitlines() if line.startswith("Report")]
    path = Path(line.split()[-1])
    assert path == folder / "runs" / "studies" / "tiny" / "report.html"
    return path


class _Tags(HTMLParser):
    """Collects what a page would load from elsewhere, and pictures without a text."""

    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.speechless = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        for name in ("src", "href"):
            value = given.get(name) or ""
            if value and not value.startswith(("#", "data:")):
                self.outside.append(value)
        if tag == "img" and "alt" not in given:
            self.speechless += 1


def test_it_is_one_file_that_loads_nothing_and_says_what_was_found(page: Path) -> None:
    text = page.read_text()
    tags = _Tags()
    tags.feed(text)
    assert not tags.outside and not tags.speechless
    assert text.count("<h1>") == 1 and '<html lang="en">' in text
    for words in ("The answer", "Threshold curves", "Learning curves", "wsss compare tiny", "tiny.yaml"):
        assert words in text
    assert len(re.findall(r'class="photo"', text)) == 8
    assert "</script><script>alert" not in text


def test_the_verb_writes_it_again_and_refuses_what_is_no_page(page: Path, tmp_path: Path) -> None:
    storage = page.parents[2]
    made = in_process("report", "tiny", "--storage", storage, "-o", tmp_path / "a.html")
    assert made.returncode == 0, made.stderr
    assert "The answer" in (tmp_path / "a.html").read_text()
    wrong = in_process("report", "tiny", "--storage", storage, "-o", tmp_path / "a.pdf")
    assert wrong.returncode == 2 and "must end in .html" in wrong.stderr
    nearest = in_process("report", "tini", "--storage", storage, "-o", tmp_path / "a.html")
    assert nearest.returncode == 2 and "'tiny'" in nearest.stderr
    away = in_process("report", "tiny", "--storage", storage, "-o", tmp_path / "a.html" / "b.html")
    assert away.returncode == 3 and "a.html" in away.stderr and "Traceback" not in away.stderr


@pytest.fixture
def browser() -> Iterator[Any]:
    if BROWSER is None:
        pytest.skip("this machine has no Chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1200, "light")])
def test_a_browser_draws_every_plot_and_sliders_uncover_masks(
    page: Path, browser: Any, width: int, scheme: str
) -> None:
    said: list[str] = []
    view = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    view.set_default_timeout(120_000)  # other tests use the processors, too
    view.on("console", lambda message: said.append(message.text))
    view.on("pageerror", lambda error: said.append(str(error)))
    view.on("request", lambda asked: asked.url.startswith(("file:", "data:")) or said.append(asked.url))
    view.goto(page.as_uri())
    plots = view.locator(".plot")
    for number in range(plots.count()):
        plots.nth(number).scroll_into_view_if_needed()
        plots.nth(number).locator(".main-svg").first.wait_for(timeout=20_000)
    assert plots.count() >= 5
    assert view.evaluate("document.documentElement.scrollWidth") <= width, "nothing is cut off"
    view.evaluate(
        "document.querySelectorAll('bdi, .notes p, .lead').forEach(x => x.textContent = 'x'.repeat(300))"
    )
    assert view.evaluate("document.documentElement.scrollWidth") <= width, "nor are long names"
    slider = view.locator(".photo input[type=range]").first
    slider.focus()
    before = view.evaluate("getComputedStyle(document.querySelector('.wipe .over')).clipPath")
    for _ in range(40):
        slider.press("ArrowLeft")
    after = view.evaluate("getComputedStyle(document.querySelector('.wipe .over')).clipPath")
    assert slider.input_value() == "60" and before != after
    ink = view.evaluate("getComputedStyle(document.body).color")
    drawn = view.evaluate("getComputedStyle(document.querySelector('.plot .xtick text')).fill")
    assert ink == drawn, "plots have the text's colour"
    view.emulate_media(media="print")
    drawn = view.evaluate("getComputedStyle(document.querySelector('.plot .xtick text')).fill")
    paper = view.evaluate("getComputedStyle(document.querySelector('.photo')).backgroundColor")
    assert (drawn, paper) == ("rgb(0, 0, 0)", "rgb(245, 245, 245)"), "ink on paper, whatever the screen is"
    assert said == []
