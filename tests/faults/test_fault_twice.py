"""The same study started twice, storages that are moved and copied, data that change between two runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import in_process
from PIL import Image

from wsss.data.sample.data_set import write_sample

sys.path.append(str(Path(__file__).parent))
pytestmark = pytest.mark.timeout(600)
LRS = (0.01, 0.05)


@pytest.fixture
def study(faulty: Any, tmp_path: Path) -> Path:
    path = tmp_path / "toy.yaml"
    path.write_text(faulty.study_text(LRS))
    return path


def statuses(faulty: Any, storage: Path) -> set[str]:
    return {status for _, status, *_ in faulty.tracked(storage)}


def test_a_study_started_twice_is_run_once_and_the_second_says_by_whom(
    faulty: Any, storage: Path, study: Path, drive: Any
) -> None:
    faulty.slow(storage, 10)
    first = drive("run", study, "--storage", storage, "--local")
    first.wait_for(lambda: len(faulty.made(storage)) >= 1)
    second = drive("run", study, "--storage", storage, "--local")
    third = drive("resume", "toy", "--storage", storage, "--local", "--json")
    assert second.wait() == 0 and third.wait() == 0, second.text + third.text
    assert f"toy is run already, by process {first.process.pid} on " in second.text
    assert (
        f"wsss plan toy --storage {storage}" in second.text
        and f"wsss mlflow toy --storage {storage}" in second.text
    )
    told = json.loads(third.text)
    assert told["running"]["process"] == first.process.pid and told["study"] == "toy"
    assert told["storage"] == str(storage) and told["follow"]
    plan = json.loads(in_process("plan", study, "--storage", storage, "--json").stdout)
    assert any(str(first.process.pid) in row["found"] for row in plan["checks"] if row["what"] == "study")
    assert "KILLED" not in statuses(faulty, storage), "the second ends nothing of the first"
    faulty.slow(storage, 0)
    assert first.wait() == 0, first.text
    assert {pid for *_, pid in faulty.made(storage)} == {first.process.pid}
    assert len(faulty.made(storage)) == 6 * len(LRS), "no epoch was trained twice"
    assert statuses(faulty, storage) == {"FINISHED"}
    assert not (storage / "studies/toy/lease").exists()


def test_two_that_begin_at_the_same_instant_are_one_run(
    faulty: Any, storage: Path, study: Path, drive: Any
) -> None:
    study.write_text(faulty.study_text(LRS[:1]))
    faulty.slow(storage, 5)
    both = [drive("run", study, "--storage", storage, "--local", "--json") for _ in range(2)]
    assert [driver.wait() for driver in both] == [0, 0], both[0].text + both[1].text
    assert len(faulty.made(storage)) == 6
    assert sum('"running": {' in driver.text for driver in both) == 1
    assert statuses(faulty, storage) == {"FINISHED"}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_whose_driver_is_killed_is_taken_over_at_once(
    faulty: Any, storage: Path, study: Path, drive: Any, number: int
) -> None:
    faulty.slow(storage, 0.2)
    driver = drive("run", study, "--storage", storage, "--local")
    driver.wait_for(lambda: len(faulty.made(storage)) >= 2)
    driver.kill(number)
    assert driver.wait() == (130 if number == signal.SIGHUP else -number)
    assert (storage / "studies/toy/lease").exists() is (number == signal.SIGKILL)
    faulty.slow(storage, 0)
    done = in_process("resume", "toy", "--storage", storage, "--local", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["running"] is None and "watching" not in done.stderr
    assert statuses(faulty, storage) == {"FINISHED"}


def test_a_moved_storage_goes_on_where_it_is_and_a_copy_leaves_the_original_alone(
    faulty: Any, storage: Path, study: Path, drive: Any
) -> None:
    faulty.slow(storage, 0.2)
    driver = drive("run", study, "--storage", storage, "--local")
    driver.wait_for(lambda: len(faulty.made(storage)) >= 7)
    driver.kill(signal.SIGINT)
    assert driver.wait() == 130
    faulty.slow(storage, 0)
    file = storage / "studies/toy/study.yaml"
    if "storage:" not in file.read_text():  # as earlier versions wrote it
        file.write_text(file.read_text() + f"storage: {storage}\n")
    copy, moved = storage.with_name("copy"), storage.with_name("moved")
    shutil.copytree(storage, copy)
    before = {path: path.stat().st_mtime_ns for path in storage.rglob("*") if path.is_file()}
    done = in_process("resume", "toy", "--storage", copy, "--local", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["reused"] > 0
    after = {path: path.stat().st_mtime_ns for path in storage.rglob("*") if path.is_file()}
    changed = {path for path in before if after.get(path) != before[path]} | set(after) - set(before)
    assert {path.relative_to(storage).parts[0] for path in changed} <= {"mlflow.db", "mlartifacts"}
    os.rename(storage, moved)
    for words in (
        ("resume", "toy", "--local", "--json"),
        ("plan", "toy", "--json"),
        ("run", study, "--local"),
    ):
        done = in_process(*words, "--storage", moved)
        assert done.returncode == 0, done.stderr
        assert not (storage / "store").exists() and not (storage / "studies").exists(), words
    assert faulty.contents(moved) == faulty.contents(copy)
    assert str(storage) not in (moved / "studies/toy/study.yaml").read_text()


def test_data_that_changed_are_told_before_work_starts(faulty: Any, storage: Path, tmp_path: Path) -> None:
    root = tmp_path / "kit"
    write_sample(root, train=8, val=2, size=64)
    study = tmp_path / "toy.yaml"
    text = faulty.study_text([0.01], epochs=2)
    study.write_text(text.replace("dataset: sample", f"root: {root}").replace("  sample: {train: 8", "  # {"))
    words = ("--storage", storage, "--local", "--json")
    first = in_process("run", study, *words)
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["data_changed"] == [] and "are not those" not in first.stderr
    assert json.loads(in_process("resume", "toy", *words).stdout)["data_changed"] == []
    classes = (root / "classes.txt").read_text().split()
    for path in [root / "classes.txt", *(root / "Annotations").glob("*.xml")]:
        path.write_text(path.read_text().replace(classes[0], "kitten"))
    ids = (root / "ImageSets/Segmentation/train.txt").read_text().split()
    for folder, ending in (("JPEGImages", "jpg"), ("Annotations", "xml"), ("SegmentationClass", "png")):
        shutil.copy(root / folder / f"{ids[0]}.{ending}", root / folder / f"new.{ending}")
    with Image.open(root / f"JPEGImages/{ids[0]}.jpg") as photo:  # the same one twice would be refused
        photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(root / "JPEGImages/new.jpg")
    (root / "ImageSets/Segmentation/train.txt").write_text("\n".join([*ids, "new"]))
    expected = [f"class {classes[0]!r} is called 'kitten' now", "1 photo is new: new"]
    plan = json.loads(in_process("plan", "toy", "--storage", storage, "--json").stdout)
    row = next(row for row in plan["checks"] if row["what"] == "data")
    assert row["state"] == "note" and all(text in row["found"] for text in expected)
    second = in_process("resume", "toy", *words)
    assert json.loads(second.stdout)["data_changed"] == expected
    told = second.stderr
    assert told.index("the data of toy are not those of its last run") < told.index("study toy")
    assert all(text in told for text in expected)
    third = in_process("resume", "toy", *words)
    assert json.loads(third.stdout)["data_changed"] == [] and "are not those" not in third.stderr
    (storage / "studies/toy/data.json").write_text("[1]")
    assert in_process("resume", "toy", *words).returncode == 0
