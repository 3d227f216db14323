from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import wsss.data.pool as pool
from wsss.data.check import check_lists
from wsss.data.readers.voc import VocDataset


def found(root: Path, *splits: str) -> list[str]:
    problems = check_lists(VocDataset(root), splits or ("train", "val")).problems
    return [f"{Path(problem.where).name}: {problem.message}" for problem in problems]


def test_a_sound_data_set_has_no_problems(tiny_voc: Path) -> None:
    assert found(tiny_voc) == []


def test_an_object_without_pixels_is_no_problem(tiny_voc: Path) -> None:
    Image.fromarray(np.zeros((30, 40), np.uint8)).save(tiny_voc / "SegmentationClass/x_4.png")
    assert found(tiny_voc) == []


def test_every_problem_of_every_file(tiny_voc: Path) -> None:
    masks, notes, lists = (tiny_voc / name for name in ("SegmentationClass", "Annotations", "ImageSets"))
    Image.new("RGB", (50, 30)).save(tiny_voc / "JPEGImages/2007_000001.jpg")
    (masks / "2007_000002.png").unlink()
    note = notes / "2007_000003.xml"
    note.write_text(note.read_text().replace("<object><name>dog</name></object>", ""))
    Image.fromarray(np.full((30, 40), 21, np.uint8)).save(masks / "x_4.png")
    (lists / "Segmentation/bad.txt").write_text("2007_000006\n2007_000006\n")
    (lists / "Segmentation/empty.txt").write_text("")
    assert found(tiny_voc, "train", "bad", "empty", "none", "val") == [
        "bad.txt:2: id '2007_000006' occurs twice",
        "empty.txt: list is empty",
        "none.txt: list is missing",
        "2007_000001.png: mask is 40 x 30, but must be 50 x 30 like its photo",
        "2007_000001.xml: annotated size is 40 x 30, but must be 50 x 30 like its photo",
        "2007_000002.png: file is missing",
        "2007_000003.png: mask shows dog, but the annotation does not name it",
        "x_4.png: mask holds the ids 21, but they must be in [0, 20] or 255",
    ]


def test_processes_find_the_same(tiny_voc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "WORTH_A_POOL", 2)
    (tiny_voc / "JPEGImages/x_4.jpg").write_bytes(b"")
    dataset = VocDataset(tiny_voc)
    alone = check_lists(dataset, ["train", "val"]).problems
    assert len(alone) == 1
    assert check_lists(dataset, ["train", "val"], workers=2).problems == alone


def test_real_photos_are_sound(voc_root: Path) -> None:
    assert found(voc_root, "mini_train", "mini_val") == []
