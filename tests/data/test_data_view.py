from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import wsss.data.pictures.fingerprint as fingerprint
from wsss.config import DataSpec, SampleSpec, SplitSpec
from wsss.data.view import DataView, open_data
from wsss.errors import DataError


def view(root: Path, storage: Path, *, verify: bool = True, **keys: Any) -> DataView:
    spec = DataSpec(
        root=root,
        holdout=0.0,
        **{"select": SplitSpec(split="train"), "report": SplitSpec(split="val"), **keys},
    )
    return open_data(spec, storage=storage, verify=verify)


def test_opens_and_knows_who_is_who(tiny_voc: Path, tmp_path: Path) -> None:
    data = view(tiny_voc, tmp_path)
    assert data.train == ("2007_000001", "2007_000002", "2007_000003", "x_4")
    assert data.select == data.train
    assert data.report == ("2007_000005", "2007_000006")
    assert data.test == data.holdout == ()
    assert data.labelled_ids == (*data.train[:3], *data.report, "x_4")
    assert data.has_masks


def test_test_images_have_no_labels_to_use(tiny_voc: Path, tmp_path: Path) -> None:
    halves = {"select": SplitSpec(split="train", half="a"), "report": SplitSpec(split="train", half="b")}
    data = view(tiny_voc, tmp_path, test=SplitSpec(split="val"), **halves)
    assert data.test == ("2007_000005", "2007_000006")
    assert not set(data.test) & set(data.labelled_ids)


def test_only_images_of_the_classes_in_use(tiny_voc: Path, tmp_path: Path) -> None:
    data = view(tiny_voc, tmp_path, classes=("dog",))
    assert data.train == ("2007_000002", "2007_000003")
    assert data.report == ("2007_000006",)
    with pytest.raises(DataError, match=r"data\.train: no image is left in train"):
        view(tiny_voc, tmp_path, classes=("sofa",))


def test_image_key_follows_what_was_consumed(tiny_voc: Path, tmp_path: Path) -> None:
    data = view(tiny_voc, tmp_path)
    ids = data.train
    key = data.image_key(ids)
    assert len(key) == 64
    assert data.image_key(ids[::-1]) == key
    assert data.image_key(ids[:-1]) != key
    assert data.image_key(ids) != data.mask_key(ids)
    assert view(tiny_voc, tmp_path / "elsewhere", verify=False).image_key(ids) == key
    assert view(tiny_voc, tmp_path, classes=("cat", "dog", "bus")).image_key(ids) != key
    moved = tiny_voc.rename(tiny_voc.with_name("moved"))
    assert view(moved, tmp_path).image_key(ids) == key  # content counts, not place
    (moved / "Annotations/x_4.xml").write_text("<a><object><name>cat</name></object></a>")
    (moved / "SegmentationClass/x_4.png").write_bytes(
        (moved / "SegmentationClass/2007_000001.png").read_bytes()
    )
    relabelled = view(moved, tmp_path, verify=False).image_key(ids)
    assert relabelled != key
    Image.new("RGB", (40, 30)).save(moved / "JPEGImages/x_4.jpg")
    assert view(moved, tmp_path).image_key(ids) not in (key, relabelled)


def test_mask_key_follows_masks_and_classes(tiny_voc: Path, tmp_path: Path) -> None:
    data = view(tiny_voc, tmp_path)
    key, images = data.mask_key(data.report), data.image_key(data.report)
    assert data.mask_key(data.report[::-1]) == key
    assert view(tiny_voc, tmp_path, classes=("cat", "dog")).mask_key(data.report) != key
    path = tiny_voc / "SegmentationClass/2007_000005.png"
    Image.fromarray(np.zeros((30, 40), np.uint8)).save(path)
    changed = view(tiny_voc, tmp_path)
    assert changed.mask_key(data.report) != key
    assert changed.image_key(data.report) == images


def test_one_error_lists_every_problem(tiny_voc: Path, tmp_path: Path) -> None:
    jpeg = tiny_voc / "JPEGImages/x_4.jpg"
    jpeg.write_bytes(jpeg.read_bytes()[:-200])
    (tiny_voc / "JPEGImages/2007_000001.jpg").unlink()
    Image.fromarray(np.zeros((31, 40), np.uint8)).save(tiny_voc / "SegmentationClass/2007_000002.png")
    Image.fromarray(np.full((30, 40), 77, np.uint8)).save(tiny_voc / "SegmentationClass/2007_000003.png")
    mask = tiny_voc / "SegmentationClass/2007_000005.png"
    mask.write_bytes(mask.read_bytes()[:-30])
    (tiny_voc / "Annotations/2007_000006.xml").write_text("<a><object><name>dogg</name></object></a>")
    with pytest.raises(DataError) as caught:
        view(tiny_voc, tmp_path)
    text = str(caught.value)
    assert text.startswith(f"6 problems in {tiny_voc}:")
    for part in (
        "x_4.jpg: photo can't be decoded",
        "2007_000001.jpg: file is missing",
        "2007_000002.png: mask is 40 x 31, but must be 40 x 30 like its photo",
        "2007_000003.png: mask holds the ids 77",
        "2007_000005.png: mask can't be decoded",
        "2007_000006.xml: class is 'dogg'",
    ):
        assert part in text


def test_a_long_list_is_cut(tiny_voc: Path, tmp_path: Path) -> None:
    many = [f"gone_{k}" for k in range(100)]
    (tiny_voc / "ImageSets/Segmentation/gone.txt").write_text("\n".join(many))
    with pytest.raises(DataError) as caught:
        view(tiny_voc, tmp_path, train="gone")
    assert len(caught.value.problems) == 50 and caught.value.more == 150
    text = str(caught.value)
    assert text.startswith("200 problems")
    shown = text.count("file is missing")
    assert text.endswith(f"and {200 - shown} more problems")


def test_masks_of_images_that_only_train_are_not_needed(tiny_voc: Path, tmp_path: Path) -> None:
    for id in ("2007_000001", "2007_000002"):
        (tiny_voc / f"SegmentationClass/{id}.png").unlink()
    (tiny_voc / "ImageSets/Segmentation/masked.txt").write_text("x_4\n2007_000003\n")
    data = view(tiny_voc, tmp_path, select=SplitSpec(split="masked"))
    assert len(data.train) == 4
    assert data.mask_key(data.select)


def test_verified_once_for_all_processes(
    tiny_voc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = view(tiny_voc, tmp_path).image_key(["x_4"])

    def inspect(file: object) -> None:
        raise AssertionError(f"looked at {file}")

    monkeypatch.setattr(fingerprint, "inspect", inspect)
    assert view(tiny_voc, tmp_path, verify=False).image_key(["x_4"]) == key


def test_progress_is_told(tiny_voc: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    spec = DataSpec(root=tiny_voc, select=SplitSpec(split="val"), report=SplitSpec(split="train"))
    open_data(spec, storage=tmp_path, progress=lambda done, total: calls.append((done, total)))
    assert calls[0] == (0, 12)  # six photos, six masks
    assert calls[-1] == (12, 12)


def test_the_sample_is_written_when_needed(tmp_path: Path) -> None:
    spec = DataSpec(dataset="sample", sample=SampleSpec(train=24, val=6, size=64, seed=3), limit=8)
    data = open_data(spec, storage=tmp_path)
    assert data.dataset.root == tmp_path / "data/sample-24-6-64-3"
    assert len(data.dataset.classes) == 5
    assert len(data.train) == 8
    again = open_data(spec, storage=tmp_path, verify=False)
    assert again.image_key(again.train) == data.image_key(data.train)


def test_a_devkit_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.root: is missing"):
        open_data(DataSpec(), storage=tmp_path)


def test_real_photos(voc_root: Path, tmp_path: Path) -> None:
    spec = DataSpec(root=voc_root, train="mini_train", classes=("cat", "dog"), limit=8)
    data = open_data(spec, storage=tmp_path)
    for id in data.select:
        mask = data.dataset.mask(id)
        assert mask.shape == data.dataset.image(id).size[::-1]
        shown = data.dataset.labels([id])[0]
        assert {k - 1 for k in np.unique(mask) if k not in (0, 255)} <= set(np.flatnonzero(shown))
