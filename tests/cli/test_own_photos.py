"""A folder of photos and a table, from `data check` to pseudo masks, without a mask to score with."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import in_process
from PIL import Image

from wsss.data.readers.voc import VocDataset
from wsss.data.sample.data_set import SAMPLE_CLASSES, write_sample

STUDY = """\
data: {dataset: folder, root: photos}
sweeps:
  - name: cam
    arms:
      baseline:
        stages: [classifier: {backbone: efficientnet_lite0, epochs: 1, batch: 4, crop: 64, long_side: [64, 96]}, cams: {scales: [1.0]}]
      fmix:
        search: {alpha: {choice: [0.5, 1.0]}}
        stages: [classifier: {method: fmix, backbone: efficientnet_lite0, epochs: 1, batch: 4, crop: 64, long_side: [64, 96], mixing: {alpha: $alpha}}, cams: {scales: [1.0]}]
  - name: masks
    stages: [pseudo_masks: {crf: {iterations: 2}}]
allow: [unequal_tuning]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study file beside twenty drawn photos with labels.csv; some masks in a folder that isn't used."""
    folder = tmp_path_factory.mktemp("own")
    write_sample(folder / "kit", train=20, val=1, size=64)
    kit = VocDataset(folder / "kit")
    (folder / "photos").mkdir()
    (folder / "truth").mkdir()
    rows = ["image,labels"]
    for number, id in enumerate(kit.split("train")):
        shutil.copy(kit.image_path(id), folder / "photos" / f"{id}.jpg")
        rows.append(f"{id}.jpg,{';'.join(kit.annotation(id).names)}")
        if number < 12:
            shutil.copy(kit.mask_path(id), folder / "truth")
    (folder / "photos/labels.csv").write_text("\n".join(rows) + "\n")
    (folder / "own.yaml").write_text(STUDY)
    return folder


@pytest.fixture(scope="module")
def finished(folder: Path) -> Path:
    done = in_process("run", "own.yaml", "--local", "--storage", "runs", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "Nothing was scored" in done.stdout
    assert "hold-out mAP in percent" in done.stdout
    return folder


@pytest.fixture
def mine(finished: Path, tmp_path: Path) -> Path:
    """A copy, for what goes on there."""
    return Path(shutil.copytree(finished, tmp_path / "mine"))


def test_every_stage_runs_and_the_masks_are_named(finished: Path) -> None:
    table = json.loads(in_process("compare", "--storage", finished / "runs", "--format", "json").stdout)
    assert table["steps"] == [] and table["protocols"] == {}
    assert [row["arm"] for row in table["rows"]] == ["baseline", "fmix"]
    for row in table["rows"]:
        assert 0 < row["holdout"]["classifier"] <= 1
        masks = sorted(Path(row["masks"]["pseudo_masks"]).glob("*.png"))
        assert len(masks) == 20
        ids = np.unique(np.concatenate([np.asarray(Image.open(path)).ravel() for path in masks]))
        assert set(ids.tolist()) <= set(range(6)) and len(ids) > 2


def test_a_sample_is_drawn_without_truth_beside_the_masks_in_mlflow_and_on_the_page(finished: Path) -> None:
    table = json.loads(in_process("compare", "--storage", finished / "runs", "--format", "json").stdout)
    for row in table["rows"]:
        assert set(row["pictures"]) == {"cams", "pseudo_masks"}
        for step, path in row["pictures"].items():
            with Image.open(path) as picture:  # eight rows of photo, CAM where there are CAMs, and mask
                assert picture.width == 6 + 190 * (3 if step == "cams" else 2)
                assert picture.height > 7 * 100
    text = in_process("compare", "--storage", finished / "runs").stdout
    assert "pseudo_masks of baseline, to look at: " in " ".join(text.split())
    kept = sorted((finished / "runs/mlartifacts").rglob("overlays.png"))
    assert {path.parent.name for path in kept} == {"cams", "pseudo_masks"}
    page = (finished / "runs/studies/own/report.html").read_text()
    assert page.count("data:image/webp") >= 8 * 4


def test_the_trial_with_the_better_map_was_kept(finished: Path) -> None:
    entries = [
        json.loads(line) for line in (finished / "runs/studies/own/ledger.jsonl").read_text().splitlines()
    ]
    scores = {
        entry["id"]: entry["metrics"]["classifier/holdout/mAP"] for entry in entries if entry["type"] == "end"
    }
    (kept,) = [entry["ids"] for entry in entries if entry["type"] == "kept" and entry["sweep"] == "cam"]
    best = max(("cam-fmix-000", "cam-fmix-001"), key=lambda name: scores[name])
    assert kept == ["cam-baseline-000", best]
    listed = json.loads(in_process("storage", "ls", "--storage", finished / "runs", "--json").stdout)
    assert sum(entry["evicted"] for entry in listed) == 3, (
        "classifier, CAMs and their picture of the other one"
    )


def test_every_format_and_view_says_so(finished: Path) -> None:
    for words in (["--format", "markdown"], ["--per-class"], ["--errors"], ["--format", "html"]):
        done = in_process("compare", "--storage", finished / "runs", *words)
        assert done.returncode == 0, done.stderr
        assert "mAP" in done.stdout and "baseline" in done.stdout
    rows = csv.DictReader(
        io.StringIO(in_process("compare", "--storage", finished / "runs", "--format", "csv").stdout)
    )
    assert all(0 <= float(row["classifier_holdout_map"]) <= 1 for row in rows)


def test_again_computes_nothing_and_plan_knows(mine: Path) -> None:
    again = in_process("resume", "own", "--local", "--storage", "runs", "--json", cwd=mine)
    assert json.loads(again.stdout)["computed"] == 0
    plan = json.loads(in_process("plan", "own.yaml", "--storage", "runs", "--json", cwd=mine).stdout)
    assert sum(row["to_make"] for row in plan["sweeps"]) == 0
    stages = {"classifier", "cams", "cams.pictures", "pseudo_masks", "pseudo_masks.pictures"}
    assert {row["stage"] for row in plan["sweeps"]} == stages
    assert plan["images"]["select"] == 0 < plan["images"]["holdout"]


def test_with_masks_it_is_scored(mine: Path) -> None:
    words = [
        "-s",
        "data.masks=truth",
        "-s",
        f"data.classes=[{', '.join(SAMPLE_CLASSES)}]",
        "--name",
        "scored",
    ]
    refused = in_process("run", "own.yaml", "--storage", "runs", "-s", "data.masks=truth", "--name", "scored", cwd=mine)  # fmt: skip
    assert refused.returncode == 2
    assert "classes.txt: is missing, but masks hold ids" in refused.stderr
    done = in_process("run", "own.yaml", "--local", "--storage", "runs", *words, cwd=mine)
    assert done.returncode == 0, done.stderr
    assert "Scored: CAM" in done.stdout and "floor" in done.stdout


def test_check_counts_or_says_what_is_wrong(folder: Path, tmp_path: Path) -> None:
    done = in_process("data", "check", folder / "photos")
    assert done.returncode == 0, done.stderr
    assert "0 problems in 20 images of all" in done.stdout
    assert "images with masks: 0" in done.stdout
    copy = shutil.copytree(folder / "photos", tmp_path / "photos")
    table = copy / "labels.csv"
    table.write_text(table.read_text() + "nobody.jpg,deer\n")
    (copy / "sample_000003.jpg").write_bytes(b"")
    done = in_process("data", "check", copy, "--json")
    assert done.returncode == 2
    found = [entry["where"] + ": " + entry["message"] for entry in json.loads(done.stdout)["problems"]]
    assert len(found) == 2
    assert "there is no photo 'nobody.jpg'" in found[0] and "sample_000003.jpg" in found[1]
    with_masks = in_process("data", "check", folder / "photos", "--masks", folder / "truth")
    assert with_masks.returncode == 2 and "nothing says which class is which" in with_masks.stdout
