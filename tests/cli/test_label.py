"""`label`: from photos with labels, some without, and a few drawn masks, to masks and a network."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from command_line import in_process
from PIL import Image

from wsss.data.readers.voc import VocDataset
from wsss.data.sample.data_set import write_sample
from wsss.masks.images import read_mask
from wsss.predict.labelling import recipe
from wsss.predict.labelling.doubt import Looked, look_at, mean_belief, worth_drawing
from wsss.predict.labelling.photos import find_photos


@pytest.fixture(scope="module", autouse=True)
def _little_effort() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        little = recipe.Effort(1, 64, (64, 96), 64, (1.0,), (1.0,), 60)
        patch.setitem(recipe.EFFORT, "quick", little)
        yield


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """Fourteen drawn photos, two of them without labels; masks of four in a folder apart."""
    folder = tmp_path_factory.mktemp("own")
    write_sample(folder / "kit", train=14, val=1, size=64)
    kit = VocDataset(folder / "kit")
    (folder / "photos").mkdir()
    (folder / "drawn").mkdir()
    (folder / "runs").mkdir()
    shutil.copy(empty_database, folder / "runs/mlflow.db")
    rows = ["image,labels"]
    for number, id in enumerate(kit.split("train")):
        shutil.copy(kit.image_path(id), folder / "photos" / f"{id}.jpg")
        if number < 12:
            rows.append(f"{id}.jpg,{';'.join(kit.annotation(id).names)}")
        if number < 4:
            shutil.copy(kit.mask_path(id), folder / "drawn")
    (folder / "photos/labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def label(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return in_process("label", "photos", *words, "--storage", folder / "runs", cwd=folder)


@pytest.fixture(scope="module")
def done(own: Path) -> Path:
    ran = label(own, "-o", "out", "--coco", "--labelme", "--cvat")
    assert ran.returncode == 0, ran.stderr
    (own / "printed.txt").write_text(ran.stdout)
    return own / "out"


def ids(folder: Path) -> list[str]:
    return sorted(path.stem for path in (folder.parent / "photos").glob("*.jpg"))


def test_every_photo_has_a_mask_of_its_size_and_a_picture(done: Path) -> None:
    assert sorted(path.stem for path in (done / "masks").glob("*")) == ids(done)
    assert sorted(path.stem for path in (done / "overlays").glob("*")) == ids(done)
    classes = (done / "classes.txt").read_text().split()
    assert classes == ["deer", "elephant", "hare", "lion", "ram"]
    for id in ids(done):
        with Image.open(done / "masks" / f"{id}.png") as mask:
            photo = Image.open(done.parent / "photos" / f"{id}.jpg")
            assert mask.mode == "P" and mask.size == photo.size
            assert np.asarray(mask).max() <= len(classes)
    assert Image.open(done / "overview.jpg").size[0] > 500


def test_formats_were_asked_for_and_a_report_is_there(done: Path) -> None:
    coco = json.loads((done / "coco.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == [f"{id}.jpg" for id in ids(done)]
    assert len(list((done / "labelme").glob("*.json"))) == len(ids(done))
    assert "<image" in (done / "cvat.xml").read_text()
    assert "<html" in (done / "report.html").read_text()[:2000]


def test_it_prints_what_to_look_at_what_to_doubt_and_what_is_next(done: Path) -> None:
    printed = (done.parent / "printed.txt").read_text()
    assert "Masks of 14 photos, of 2 of them without labels: out/masks" in printed
    assert "out/overview.jpg" in printed and "out/study.yaml" in printed
    notes = json.loads((done / "label.json").read_text())
    assert notes["photos"] == {"labelled": 12, "unlabelled": 2} and notes["drawn"] == []
    assert 0 < len(notes["worth_drawing"]) <= 10
    assert all(name in printed for name in notes["worth_drawing"])
    assert sum(notes["shares"].values()) == pytest.approx(1)


def test_its_study_is_a_file_to_go_on_from(done: Path) -> None:
    study = done / "study.yaml"
    assert study.read_text().startswith("# Written by `label photos -o out")
    again = in_process("run", study, "--local", "--storage", done.parent / "runs", "--json")
    assert json.loads(again.stdout)["computed"] == 0, "it is what was run"


def test_its_network_labels_more_photos(done: Path, tmp_path: Path) -> None:
    photo = done.parent / "photos" / f"{ids(done)[-1]}.jpg"
    model = done / "network.safetensors"
    ran = in_process("predict", photo, "--model", model, "--flip", "--crf", "-o", tmp_path / "more")
    assert ran.returncode == 0, ran.stderr
    assert np.array_equal(
        read_mask(tmp_path / "more" / f"{photo.stem}.png"), read_mask(done / "masks" / f"{photo.stem}.png")
    ), "a photo without labels gets what the network says"


def test_again_nothing_is_computed_and_an_edited_study_is_not_overwritten(done: Path, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    shutil.copytree(done.parent, folder)
    before = {path.name: path.read_bytes() for path in (folder / "out/masks").glob("*")}
    study = (folder / "out/study.yaml").read_text()
    study = study.replace(str(done.parent), str(folder))
    (folder / "out/study.yaml").write_text(study.replace("iterations: 60", "iterations: 61"))
    ran = label(folder, "-o", "out")
    assert ran.returncode == 2 and "is there, and not as `label` has written it" in ran.stderr
    assert {path.name: path.read_bytes() for path in (folder / "out/masks").glob("*")} == before
    (folder / "out/study.yaml").unlink()
    shutil.rmtree(folder / "out/masks")
    ran = label(folder, "-o", "out", "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["photos"] == {"labelled": 12, "unlabelled": 2}
    assert {path.name: path.read_bytes() for path in (folder / "out/masks").glob("*")} == before


def test_drawn_masks_teach_and_stay_as_they_were_drawn(own: Path) -> None:
    refused = label(own, "-o", "few", "--masks", "drawn")
    assert refused.returncode == 2 and "nothing says which class is which" in refused.stderr
    (own / "drawn/classes.txt").write_text("deer\nelephant\nhare\nlion\nram\n")  # as `label` writes one
    ran = label(own, "-o", "few", "--masks", "drawn")
    assert ran.returncode == 0, ran.stderr
    assert "4 that you drew taught the rest" in ran.stdout
    drawn = sorted((own / "drawn").glob("*.png"))
    for path in drawn:
        assert np.array_equal(read_mask(path), read_mask(own / "few/masks" / path.name))
    notes = json.loads((own / "few/label.json").read_text())
    assert notes["drawn"] == [path.stem for path in drawn]
    assert not {f"{path.stem}.jpg" for path in drawn} & set(notes["worth_drawing"])
    study = (own / "few/study.yaml").read_text()
    assert "split: masked" in study and "masks: 4" in study
    table = in_process("compare", "--storage", own / "runs", "--format", "json", notes["study"])
    (row,) = json.loads(table.stdout)["rows"]
    assert row["supervision"] == ["image", "masks: 4"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-o", "photos"), "holds the photos"),
        (("-o", "printed.txt"), "is a file, but must be a folder"),
        (("-o", "x", "--masks", "nowhere"), "there is no such folder"),
        (("-o", "x", "--labels", "photos/nothing.csv"), "nothing.csv"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(
    words: tuple[str, ...], message: str, own: Path
) -> None:
    (own / "printed.txt").touch()
    ran = label(own, *words)
    assert ran.returncode == 2 and message in ran.stderr
    assert not (own / "x").exists()


def test_labels_of_no_photo_are_an_error_and_photos_without_labels_are_none(
    own: Path, tmp_path: Path
) -> None:
    found = find_photos(own / "photos")
    assert len(found.labelled) == 12 and len(found.unlabelled) == 2 and found.drawn == ()
    copy = shutil.copytree(own / "photos", tmp_path / "photos")
    (copy / "labels.csv").write_text("image,labels\nnobody.jpg,cat\n")
    ran = in_process("label", copy, "-o", tmp_path / "out")
    assert ran.returncode == 2 and "there is no photo 'nobody.jpg'" in ran.stderr
    (copy / "labels.csv").write_text(f"image,labels\n{found.labelled[0]}.jpg,\n")
    ran = in_process("label", copy, "-o", tmp_path / "out")
    assert ran.returncode == 2, ran.stderr


def test_belief_is_the_soft_overlap_of_network_and_mask() -> None:
    maps = np.array([[[0.5, 1.0, 0.0]], [[0.0, 0.0, 0.25]]], np.float32)
    mask = np.array([[1, 1, 0]], np.uint8)
    found = look_at(maps, np.array([0, 3]), mask)
    assert found.belief == pytest.approx(1.5 / 2.25) and found.lost == (3,) and found.classes == (0, 3)
    assert found.doubt == pytest.approx(1 - 1.5 / 2.25 + 1)
    assert look_at(maps[:0], np.array([], np.int64), mask) == Looked(1.0, (), ())


def test_photos_worth_drawing_are_the_doubtful_ones_of_each_class_in_turn() -> None:
    looked = {
        "a": Looked(0.9, (), (0,)),
        "b": Looked(0.2, (), (0,)),
        "c": Looked(0.1, (), (0,)),
        "d": Looked(0.8, (), (1,)),
        "e": Looked(0.9, (1,), (1,)),
        "f": Looked(1.0, (), ()),
    }
    assert worth_drawing(looked, 4) == ["c", "e", "b", "d"]
    assert worth_drawing(looked) == ["c", "e", "b", "d", "a"]
    assert mean_belief(looked) == pytest.approx((0.9 + 0.2 + 0.1 + 0.8 + 0) / 5)
