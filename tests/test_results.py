"""What docs/results.md says of studies whose scores are kept there comes out of those scores, offline."""

from __future__ import annotations

import json
import re
import tarfile
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import Any

import pytest
from command_line import in_process
from scipy.stats import spearmanr

from wsss.stages.kinds.scoring.scores import SCORES_FILE
from wsss.store.folder_store import Store
from wsss.store.ledger import Ledger

DOCS = Path(__file__).parents[1] / "docs"
DELTA = re.compile(r"([-+][\d.]+) \[([-+][\d.]+), ([-+][\d.]+)\](?P<star> \\\*)?")
INTERVAL = re.compile(r"\[(?P<low>[\d.]+), (?P<high>[\d.]+)\]")


def section(title: str) -> str:
    text = (DOCS / "results.md").read_text()
    return text.partition(f"## {title}\n")[2].partition("\n## ")[0]


def table_rows(text: str, after: str = "") -> list[list[str]]:
    """Return the cells of the first table of a text, or of the first after some words, without its head."""
    text = text.partition(after)[2] if after else text
    table = dropwhile(lambda line: not line.startswith("|"), text.splitlines())
    lines = list(takewhile(lambda line: line.startswith("|"), table))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


class Archives:
    """The archives of docs/, each unpacked and compared once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._compared: dict[tuple[str, ...], dict[str, Any]] = {}

    def storage(self, archive: str) -> Path:
        folder = self.folder / archive
        if not folder.exists():
            with tarfile.open(DOCS / "archives" / f"{archive}.tar.xz") as tar:
                tar.extractall(folder, filter="data")
        return folder / "runs"

    def compared(self, archive: str, *form: str) -> dict[str, Any]:
        """Return what `compare --format json` prints of an archive."""
        if (archive, *form) not in self._compared:
            done = in_process("compare", "--storage", self.storage(archive), "--format", "json", *form)
            assert done.returncode == 0, done.stderr
            self._compared[archive, *form] = json.loads(done.stdout)
        return self._compared[archive, *form]

    def rows(self, archive: str) -> dict[str, dict[str, Any]]:
        """Return the rows of an archive's table by their arm."""
        return {row["arm"]: row for row in self.compared(archive)["table"]}


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Archives:
    return Archives(tmp_path_factory.mktemp("archives"))


@pytest.mark.parametrize(
    ("title", "archive"),
    [
        ("Image labels alone, and a few masks", "supervision_animals"),
        ("One thing at a time", "levers_animals"),
        ("Mixing, or the losses that come with it", "mixing_animals"),
        ("The same recipe on twenty classes", "supervision_voc"),
        ("What the bugs of the first code were worth", "bugs"),
    ],
)
def test_a_table_comes_out_of_its_archive(title: str, archive: str, archives: Archives) -> None:
    records = archives.rows(archive)
    rows = table_rows(section(title))
    checked = 0
    for step, *middle, score, interval in rows:
        named = re.match(r"`(?P<arm>\w+)`(?:, `(?P<column>\w+)`)?", step.replace("**", ""))
        assert named is not None or step.startswith("floor"), f"{step!r} names no arm"
        row = records["floor" if named is None else named["arm"]]
        column = "cam" if named is None or "answer" not in row else named["column"] or "answer"
        assert score.strip("*") == f"{100 * row[column]:.1f}", step
        if interval:
            found = INTERVAL.fullmatch(interval)
            assert found is not None, interval
            assert found["low"] == f"{100 * row[f'{column}_low']:.1f}", step
            assert found["high"] == f"{100 * row[f'{column}_high']:.1f}", step
        delta = DELTA.fullmatch(middle[-1].replace("−", "-"))
        if delta is not None:
            own = f"{column}_" if row[f"{column}_control_delta"] is None else f"{column}_control_"
            shown = [f"{100 * row[f'{own}{part}']:+.1f}" for part in ("delta", "delta_low", "delta_high")]
            assert [*delta.groups()][:3] == shown, step
            assert bool(delta["star"]) == row[f"{own}delta_stands"], step
        if archive == "levers_animals":
            assert middle[1] == f"{100 * row['answer_select']:.1f}"
        checked += 1
    assert checked == len(rows) >= 9


def test_two_more_seeds_come_out_of_theirs(archives: Archives) -> None:
    """Seed 1 is in the first archive, the mean of seeds 2 and 3 in the second."""
    records, rows = archives.rows("supervision_animals"), archives.rows("supervision_seeds")
    assert rows["usual"]["answer_delta_stands"], "the star"
    assert f"{-100 * rows['usual']['answer_delta']:.1f} points below" in section("Two more seeds")
    shown = 0
    for step, first, second, third, mean in table_rows(section("Two more seeds")):
        if step == "difference":
            continue
        names = re.findall(r"`(\w+)`", step)
        arm = next((name for name in names if name in rows), "again")
        column = names[0] if names[0] not in rows else "answer"
        assert float(first) == pytest.approx(100 * records[arm][column], abs=0.051)
        both = (float(second) + float(third)) / 2
        assert both == pytest.approx(100 * rows[arm][column], abs=0.051)
        assert float(mean.strip("*")) == pytest.approx((float(first) + 2 * both) / 3, abs=0.051)
        shown += 1
    assert shown == 6


EQUAL = "Eight methods, tuned equally often"


@pytest.mark.parametrize(("title", "archive"), [("Quickstart", "quickstart"), (EQUAL, "equal_animals")])
def test_a_table_of_arms_comes_out_of_its_archive(title: str, archive: str, archives: Archives) -> None:
    """The columns are CAM, its interval and difference, and the same of masks."""
    found = archives.compared(archive)["table"]
    rows = table_rows(section(title))
    assert [cells[0].split()[0] for cells in rows] == [row["arm"] for row in found]
    for cells, row in zip(rows, found, strict=True):
        for column, (score, interval, delta) in (("cam", cells[1:4]), ("mask", cells[4:7])):
            assert_same(score, interval, delta, row, column)
        named = dict(re.findall(r"(\w+) ([\w.]+)", cells[0].partition("(")[2]))
        params = json.loads(row["params"] or "{}")
        shown = {name: value if isinstance(value, str) else f"{value:.3g}" for name, value in params.items()}
        assert shown == named


def test_the_best_of_k_comes_out_of_its_archive(archives: Archives) -> None:
    rows = archives.compared("equal_animals", "--tuning")["rows"]
    searched = {row["arm"]: row["best_of"] for row in rows if row["sweep"] == "cam" and row["tried"] > 1}
    shown = {arm: scores for arm, *scores in table_rows(section(EQUAL), after="best of k")}
    assert shown.keys() == searched.keys() and len(shown) == 10
    for arm, best in searched.items():
        cells = [
            [f"{100 * one[name]:.1f}" for name in ("score", "low", "high")]
            for one in best
            if one["k"] in (1, 2, 4, 10)
        ]
        assert shown[arm] == [f"{score} [{low}, {high}]" for score, low, high in cells]


def test_thresholds_and_rates_come_out_of_its_archive(archives: Archives) -> None:
    """What is said of maps that fall off fast, and of learning rates that were drawn."""
    storage = archives.storage("equal_animals")
    trials = Ledger(storage / "studies/equal_animals").trials().values()
    store = Store(storage / "store")
    thresholds: dict[str, list[float]] = {}
    tried: dict[str, list[tuple[float, float]]] = {}
    for trial in trials:
        if trial.sweep == "seeds":
            scores = store.read_json(trial.keys["cams.scores"], SCORES_FILE)
            thresholds.setdefault(trial.arm, []).append(scores["select"]["threshold"])
        elif trial.sweep == "cam" and "lr" in trial.params:
            tried.setdefault(trial.arm, []).append((trial.params["lr"], trial.metrics["cams/select/miou"]))
    with_losses = ("mixup", "fmix", "manifold_mixup", "nothing_mixed")
    for said, found in (
        ("0.12 to 0.23", [one for arm in with_losses for one in thresholds[arm]]),
        ("0.32 to 0.39", thresholds["cam"]),
        ("0.29 to 0.33", thresholds["cutmix"]),
    ):
        assert f"{min(found):.2f} to {max(found):.2f}" == said and said in section(EQUAL)
    ranks = [spearmanr(*zip(*pairs, strict=True)).statistic for pairs in tried.values()]
    assert f"(rank correlation {min(ranks):.2f} to {max(ranks):.2f})" in section(EQUAL)
    low = {arm: sum(rate < 0.01 for rate, _ in pairs) for arm, pairs in tried.items()}
    assert (low["exploration"], low["cam"]) == (7, 3)
    assert max(rate for rate, _ in tried["hide_and_seek"]) < 0.0235


def test_what_mixing_adds_to_its_control_comes_out_of_its_archive(archives: Archives) -> None:
    rows = archives.rows("equal_animals")
    text = section(EQUAL).replace("−", "-")
    control = rows["nothing_mixed"]
    gain = ", ".join(f"{100 * control[name]:.1f}" for name in ("cam_delta_low", "cam_delta_high"))
    assert f"{100 * control['cam_delta']:.1f} [{gain}] on `cam`" in text
    for arm, name in (("mixup", "Mixup"), ("fmix", "FMix"), ("manifold_mixup", "Manifold Mixup")):
        row = rows[arm]
        low, high = (f"{100 * row[f'cam_control_delta_{end}']:+.1f}" for end in ("low", "high"))
        assert f"{100 * row['cam_control_delta']:+.1f} [{low}, {high}] ({name})" in text
        assert not row["cam_control_delta_stands"]


def test_the_chain_comes_out_of_its_archive(archives: Archives) -> None:
    """Step by step: what each has, and what it adds to the one before."""
    found = archives.compared("chain_animals", "--errors")["table"]
    floor, *rows = table_rows(section("The whole chain on five animal classes"))
    assert floor[1] == f"{100 * archives.rows('chain_animals')['floor']['cam']:.1f}"
    assert [row["step"] for row in found] == ["cam", "crf", "walk", "segmentation"]
    scores = archives.rows("chain_animals")["baseline"]
    for (_, score, interval, before, *shown), row in zip(rows, found, strict=True):
        assert score == f"{100 * row['miou']:.1f}"
        assert shown == [f"{100 * row[name]:.1f}" for name in ("precision", "recall", "boundary_f")]
        low, high = (f"{100 * scores[row['step'] + end]:.1f}" for end in ("_low", "_high"))
        assert interval == f"[{low}, {high}]"
        if row["before_delta"] is None:
            assert not before
            continue
        delta = DELTA.fullmatch(before)
        assert delta is not None
        of = ("before_delta", "before_delta_low", "before_delta_high")
        assert [*delta.groups()][:3] == [f"{100 * row[name]:+.1f}" for name in of]
        assert bool(delta["star"]) == row["before_delta_stands"]


def test_the_ablation_comes_out_of_its_archive(archives: Archives) -> None:
    found = archives.compared("ablation")["table"]
    records = {(row["arm"], row["params"]): row for row in found}
    cells = table_rows(section("The ablation on the sample set: the concentration term"))
    terms = [(0.0, 0.0), (0.0, 0.02), (0.27, 0.0), (0.27, 0.02)]
    for arm, *shown in cells:
        for cell, (concentration, entropy) in zip(shown, terms, strict=True):
            row = records[arm, json.dumps({"concentration": concentration, "entropy": entropy})]
            score, _, rest = cell.partition(" ")
            interval, _, star = rest.partition("]")
            delta = f"{100 * row['cam_delta']:+.1f}{star.strip()}" if row["cam_delta"] is not None else ""
            assert_same(score, f"{interval}]", delta, row, "cam")
    assert len(cells) == 4 and len(found) == 18
    trained = [row["classifier_holdout_map"] for row in found if row["arm"] != "floor"]
    assert min(trained) > 0.8, "every training started"


def assert_same(score: str, interval: str, delta: str, row: dict[str, Any], column: str) -> None:
    """Hold cells of a page against a row that `compare` prints."""
    assert score.strip("*") == f"{100 * row[column]:.1f}"
    low, high = row[f"{column}_low"], row[f"{column}_high"]
    assert interval == ("" if low is None else f"[{100 * low:.1f}, {100 * high:.1f}]")
    shown = row[f"{column}_delta"]
    star = "\\*" if row[f"{column}_delta_stands"] else ""
    assert delta.replace("−", "-") == ("" if shown is None else f"{100 * shown:+.1f}{star}")


def test_each_archive_names_the_code_that_made_it(archives: Archives) -> None:
    names = [path.name.removesuffix(".tar.xz") for path in (DOCS / "archives").iterdir()]
    shown = {name: (commits, day) for name, commits, day in table_rows(section("Which code made them"))}
    assert sorted(shown) == sorted(names)
    for name, (commits, days) in shown.items():
        (study,) = (archives.storage(name) / "studies").iterdir()
        entries = [json.loads(line) for line in (study / "ledger.jsonl").read_text().splitlines()]
        origins = [entry for entry in entries if entry["type"] == "origin"]
        changed = [" with changes" if entry["dirty"] else "" for entry in origins]
        said = [f"`{entry['commit'][:7]}`{more}" for entry, more in zip(origins, changed, strict=True)]
        assert commits == ", ".join(said)
        assert days == ", ".join(dict.fromkeys(entry["time"][:10] for entry in origins))


def test_a_report_is_written_from_one(archives: Archives, tmp_path: Path) -> None:
    storage = archives.storage("supervision_animals")
    done = in_process("report", "--storage", storage, "-o", tmp_path / "page.html")
    assert done.returncode == 0, done.stderr
    assert "supervision_animals" in (tmp_path / "page.html").read_text()
