"""What a storage tells of tuning: against hand-made scores, and going through all subsets."""

from __future__ import annotations

import csv
import io
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from made_up import FAIR, GOOD, POOR, Storage

from wsss.cli.comparison.tuning import show_tuning, tuning_notes
from wsss.files import describe_files, write_json
from wsss.metrics import miou
from wsss.report.compare import compare
from wsss.report.page.tuning_figures import tuning_plots
from wsss.report.tuned.rows import tuning
from wsss.stages.scoring.scores import write_arrays


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path)


def scored(storage: Storage, select: list[Any], report: list[Any]) -> str:
    """Write scores with these confusions at one threshold; return their key."""
    key = storage.scores(report)
    folder = storage.store.folder(key)
    arrays = {"report": np.array(report, np.int32), "select": np.array(select, np.int32)}
    ids = {
        f"{name}_ids": np.asarray([f"{name}-{n}" for n in range(len(counts))])
        for name, counts in arrays.items()
    }
    write_arrays(folder / "confusions.npz", {**arrays, **ids})
    _sign(folder, ["confusions.npz", "scores.json"])
    return key


def _sign(folder: Path, names: list[str]) -> None:
    write_json(
        folder / "artefact.json", {"stage": "scores", "files": describe_files(folder, names), "summary": {}}
    )


def study(storage: Storage, *arms: str, searcher: str = "random", samples: int | None = 4) -> None:
    stages: list[Any] = [{"classifier": {"lr": "$lr"}}, "cams"]
    search = {"lr": {"choice": [0.01, 0.02, 0.03, 0.04]}}
    own = {"search": search, "stages": stages, **({"samples": samples} if samples else {})}
    sweep = {
        "name": "cam",
        "arms": dict.fromkeys(arms, own),
        "metric": "cams/select/miou",
        "searcher": searcher,
    }
    raw = {"name": "made", "data": {"dataset": "sample"}, "allow": ["unequal_tuning"], "sweeps": [sweep]}
    raw |= {"seed": 0, "retain": "kept", "tracking": {"uri": None}}
    (storage.root / "studies" / "made" / "study.yaml").write_text(yaml.safe_dump(raw))


def mixed(share: float) -> list[list[int]]:
    """Return a confusion whose mIoU grows with `share`."""
    hits = round(100 * share)
    return [[hits, 100 - hits], [100 - hits, hits]]


def arm(storage: Storage, name: str, select: list[float], report: list[float], **fields: Any) -> None:
    for number, (chosen, reported) in enumerate(zip(select, report, strict=True)):
        key = scored(storage, [mixed(chosen)] * 2, [mixed(reported)] * 3)
        storage.trial(name, key, id=f"cam-{name}-{number:03d}", kept=False, **fields)


def rows(storage: Storage) -> dict[str, Any]:
    return {row.arm: row for row in tuning(storage.root, ["made"]).rows}


def test_the_best_of_k_is_the_mean_over_all_subsets(storage: Storage) -> None:
    select, report = [0.3, 0.8, 0.5, 0.6], [0.5, 0.4, 0.9, 0.7]
    arm(storage, "baseline", select, report)
    study(storage, "baseline")
    row = rows(storage)["baseline"]
    assert (row.tried, row.scored, row.drawn, row.step) == (4, 4, True, "cams")
    scores = [miou(np.array(mixed(share))) for share in report]
    for k in range(1, 5):
        best = [max(subset, key=lambda n: select[n]) for subset in itertools.combinations(range(4), k)]
        assert row.best_of[k - 1].score == pytest.approx(np.mean([scores[n] for n in best]))
    assert [point.other_low is not None for point in row.best_of] == [True, True, False, False]


def test_seeds_of_a_configuration_are_one_that_was_tried(storage: Storage) -> None:
    for number, seed in itertools.product(range(2), range(3)):
        key = scored(storage, [mixed(0.5)], [mixed(0.1 * (number + seed))])
        id = f"cam-baseline-{number:03d}"
        storage.trial("baseline", key, id=f"{id}-s{seed}", configuration=id, seed=seed)
    study(storage, "baseline")
    row = rows(storage)["baseline"]
    assert (row.tried, row.seeds) == (2, 3)
    everything = [miou(np.array(mixed(0.1 * (n + s)))) for n in range(2) for s in range(3)]
    assert row.best_of[0].score == pytest.approx(np.mean(everything))


def test_a_population_tried_all_that_its_members_were_trained_with(storage: Storage) -> None:
    """Two members of a population: the worse one goes on from the better one with another value."""
    parts = [{"epoch": 0, "params": {"lr": 0.1}, "parent": "a"}, {"epoch": 2, "params": {"lr": 0.2}}]
    parts[1]["parent"] = "a"
    keys = {"cams.scores": scored(storage, [mixed(0.6)] * 2, [mixed(0.7)] * 3)}
    begun = [{"epoch": 0, "params": {"lr": 0.4}, "parent": "b"}]
    for id, history in (("a", parts[:1]), ("b", begun), ("b", parts)):
        storage.trial("baseline", None, id=id, keys=keys, history=history, kept=False)
    study(storage, "baseline")
    row = rows(storage)["baseline"]
    assert (row.tried, row.members, row.scored) == (3, 2, 2)
    assert [point.k for point in row.best_of] == [3], "nobody knows the best of fewer"
    (line,) = [line for line in tuning_notes(tuning(storage.root, ["made"])) if "population" in line]
    assert "2 members of a population" in line and "with 3 configurations" in line
    (compared,) = compare(storage.root, ["made"]).rows[:1]
    assert compared.tried is not None and compared.tried.configurations == 3


def test_stopped_and_failed_ones_count_as_tried_and_are_never_chosen(storage: Storage) -> None:
    arm(storage, "fmix", [0.5, 0.6], [0.5, 0.7])
    storage.trial("fmix", None, id="cam-fmix-002", status="stopped", kept=False)
    storage.trial("fmix", None, id="cam-fmix-003", status="started", kept=False)
    study(storage, "fmix")
    row = rows(storage)["fmix"]
    assert (row.tried, row.scored) == (3, 2)
    assert [point.k for point in row.best_of] == [2, 3], "the only one tried may be the stopped one"


def test_a_difference_that_is_there_with_unequal_tuning_only_is_marked(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    """One configuration of each arm reports the same; the best of fmix's four reports more."""
    arm(storage, "baseline", [0.5], [0.5])
    arm(storage, "fmix", [0.3, 0.4, 0.5, 0.9], [0.4, 0.5, 0.5, 0.6])
    study(storage, "baseline", "fmix")
    found = tuning(storage.root, ["made"])
    row = {row.arm: row for row in found.rows}["fmix"]
    assert row.as_tuned is not None
    assert row.as_tuned.mean > 0.05
    assert set(row.gaps) == {1}
    assert row.gaps[1].mean == pytest.approx(0, abs=0.005)
    show_tuning(found, "markdown")
    printed = capsys.readouterr().out
    assert row.only_with_more == ("appears only with unequal tuning" in printed)


def test_differences_at_equal_numbers_are_paired_by_image(storage: Storage) -> None:
    hard, easy = mixed(0.2), mixed(0.9)
    for name, extra in (("baseline", 0.0), ("fmix", 0.05)):
        for number in range(4):
            report = [mixed(0.2 + extra), mixed(0.9 + extra)] * 5
            key = scored(storage, [hard, easy], report)
            storage.trial(name, key, id=f"cam-{name}-{number:03d}", kept=False)
    study(storage, "baseline", "fmix")
    found = rows(storage)
    gap, point = found["fmix"].gaps[2], found["fmix"].best_of[1]
    assert gap.high - gap.low < (point.high - point.low) / 3
    assert gap.low > 0
    assert gap.other_low is not None


def curves(storage: Storage, select: np.ndarray, report: np.ndarray) -> str:
    """Write scores of CAMs with confusions int[N, T, C + 1, C + 1] at T thresholds; return their key."""
    chosen = int(np.argmax([miou(select[:, t].sum(0)) for t in range(select.shape[1])]))
    key = storage.scores(report[:, chosen].tolist())
    folder = storage.store.folder(key)
    parts = {"select": select, "report": report}
    arrays: dict[str, np.ndarray] = {}
    for name, counts in parts.items():
        arrays[f"{name}_hits"] = np.diagonal(counts, axis1=-2, axis2=-1)
        arrays[f"{name}_predicted"] = counts.sum(-2)
    write_arrays(folder / "curves.npz", arrays)
    ids = {f"{name}_ids": np.asarray([f"{name}-{n}" for n in range(len(c))]) for name, c in parts.items()}
    write_arrays(folder / "confusions.npz", {**{name: c[:, chosen] for name, c in parts.items()}, **ids})
    content = json.loads((folder / "scores.json").read_text())
    content["report"]["threshold"] = chosen / 100
    write_json(folder / "scores.json", content)
    _sign(folder, ["confusions.npz", "curves.npz", "scores.json"])
    return key


def test_few_masks_choose_threshold_and_configuration_again(storage: Storage) -> None:
    random = np.random.default_rng(0)
    true = random.integers(20, 60, size=(4, 1, 2))
    made = []
    for number in range(3):
        select = np.stack([random.multinomial(n, [0.5, 0.5], size=3) for n in true.reshape(-1)])
        select = select.reshape(4, 2, 3, 2).swapaxes(1, 2)
        report = random.integers(1, 50, size=(5, 3, 2, 2))
        report[:, 1:, :, 0] = report[:, :1].sum(-1) - report[:, 1:, :, 1] + 60
        report[:, :1, :, 0] += 60
        made.append((select, report))
        storage.trial("fmix", curves(storage, select, report), id=f"cam-fmix-{number:03d}", kept=False)
    study(storage, "fmix")
    row = rows(storage)["fmix"]
    reported = []
    for image in range(4):
        values = [[miou(select[image, t]) for t in range(3)] for select, _ in made]
        winner = max(range(3), key=lambda c: (max(values[c]), -c))
        at = values[winner].index(max(values[winner]))
        reported.append(miou(made[winner][1][:, at].sum(0)))
    one = row.few_masks[0]
    assert (one.masks, one.images, one.exact) == (1, 1, True)
    assert one.score == pytest.approx(np.mean(reported))
    assert row.few_masks[-1].masks == 0
    assert row.few_masks[-1].score == pytest.approx(row.best_of[-1].score), (
        "all masks choose as the sweep did"
    )


def test_where_nothing_is_chosen_few_masks_choose_nothing(storage: Storage) -> None:
    """One configuration of a step that has no threshold, as a sweep behind another one has."""
    storage.trial("fmix", curves(storage, np.ones((4, 1, 2, 2), int), np.ones((4, 1, 2, 2), int)), kept=False)
    study(storage, "fmix")
    assert rows(storage)["fmix"].few_masks == ()


def test_what_choosing_by_another_score_loses(storage: Storage) -> None:
    shares = {"select": [0.3, 0.8, 0.5], "report": [0.4, 0.9, 0.5], "classifier/holdout/mAP": [0.9, 0.5, 0.6]}
    from wsss.store.ledger import Ledger

    arm(storage, "fmix", shares["select"], shares["report"])
    ledger = Ledger(storage.root / "studies" / "made")
    for number in range(3):
        metrics = {"cams/select/miou": shares["select"][number]}
        metrics["classifier/holdout/mAP"] = shares["classifier/holdout/mAP"][number]
        ledger.append("end", id=f"cam-fmix-{number:03d}", status="done", metrics=metrics, error="", seconds=1.0,
                      reason="", rungs=[])  # fmt: skip
    study(storage, "fmix")
    truth, proxy = rows(storage)["fmix"].selected
    assert (truth.by, truth.configuration, truth.lost) == ("cams/select/miou", "cam-fmix-001", 0)
    assert (proxy.by, proxy.configuration, proxy.masks) == ("classifier/holdout/mAP", "cam-fmix-000", False)
    assert proxy.lost == pytest.approx(miou(np.array(mixed(0.9))) - miou(np.array(mixed(0.4))))


def test_every_format_shows_it(storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    arm(storage, "baseline", [0.5, 0.6], [0.5, 0.6])
    arm(storage, "fmix", [0.5, 0.7], [0.6, 0.7])
    study(storage, "baseline", "fmix", samples=2)
    found = tuning(storage.root, ["made"])
    score = found.rows[0].best_of[0].score
    for format_ in ("table", "markdown", "latex", "html"):
        show_tuning(found, format_)
        text = capsys.readouterr().out
        assert f"{100 * score:.1f}" in text and "Best of k: the mean" in text
        assert all(
            len(line) <= 80
            for line in text.split("\nBest of k: the mean")[0].split("\n")
            if format_ == "table"
        )
    show_tuning(found, "csv")
    first, *_ = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (first["arm"], first["what"], first["number"]) == ("baseline", "best of", "1")
    assert float(first["score"]) == pytest.approx(score, abs=1e-6)
    show_tuning(found, "json")
    assert json.loads(capsys.readouterr().out)["rows"][0]["best_of"][0]["k"] == 1


def test_unused_confusions_of_older_versions_are_no_trouble(storage: Storage) -> None:
    """Scores without `select` counts tell nothing; they are passed over."""
    storage.trial("fmix", storage.scores([GOOD, FAIR, POOR]), kept=False)
    study(storage, "fmix")
    assert rows(storage)["fmix"].best_of == ()


def test_the_page_draws_it(storage: Storage) -> None:
    arm(storage, "baseline", [0.5, 0.6], [0.5, 0.6])
    arm(storage, "fmix", [0.5, 0.7], [0.6, 0.7])
    study(storage, "baseline", "fmix", samples=2)
    found = tuning(storage.root, ["made"])
    (plot,) = tuning_plots(found)
    assert plot.title == "Best of k, made: cam"
    assert [trace.name for trace in plot.figure.data] == ["baseline", "fmix"]
    scores = [f"{100 * point.score:.1f}" for row in found.rows for point in row.best_of]
    assert [cells[2] for cells in plot.cells] == scores


def test_a_baseline_of_which_nothing_was_scored_leaves_the_other_rows(storage: Storage) -> None:
    storage.trial("baseline", "0" * 64, id="cam-baseline-000", kept=False, status="failed")
    arm(storage, "fmix", [0.3, 0.6], [0.4, 0.7])
    study(storage, "baseline", "fmix", samples=2)
    found = rows(storage)
    assert len(found["fmix"].best_of) == 2 and not found["fmix"].gaps
