"""A folder of photos with a table of labels, with masks and without."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wsss.config import DataSpec
from wsss.data.check import check_lists
from wsss.data.pictures.decode import photo_size
from wsss.data.readers.folder import FolderDataset
from wsss.data.readers.splits import half_of, is_held_out
from wsss.data.view import DataView, open_data
from wsss.errors import ConfigError, DataError

NAMES = [f"photo {number}" for number in range(24)]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """24 photos of 12 by 8 pixels in two formats, and a table: even ones show a cat, every third a dog."""
    root = tmp_path / "photos"
    root.mkdir()
    rows = []
    for number, name in enumerate(NAMES):
        file = f"{name}{'.jpg' if number % 4 else '.PNG'}"
        Image.new("RGB", (12, 8), (9 * number, 50, 90)).save(root / file)
        labels = ["cat"] * (number % 2 == 0) + ["dog"] * (number % 3 == 0)
        rows.append(f"{file},{';'.join(labels)}")
    (root / "labels.csv").write_text("image,labels\n" + "\n".join(rows) + "\n")
    return root


def add_masks(root: Path, names: list[str], folder: str = "masks") -> None:
    """Write masks with a cat (1) on the left and a dog (2) on the right, as far as they are there."""
    (root / folder).mkdir()
    for name in names:
        number = NAMES.index(name)
        mask = np.zeros((8, 12), np.uint8)
        mask[2:6, 1:4] = 1 if number % 2 == 0 else 255
        mask[2:6, 6:9] = 2 if number % 3 == 0 else 0
        Image.fromarray(mask).save(root / folder / f"{name}.png")


def opened(root: Path, storage: Path, **keys: Any) -> DataView:
    return open_data(DataSpec(dataset="folder", root=root, **keys), storage=storage)


def problems(root: Path, **keys: Any) -> list[str]:
    with pytest.raises(DataError) as caught:
        opened(root, root.parent / "runs", **keys)
    return [str(problem) for problem in caught.value.problems]


def test_photos_and_a_table_are_all_it_takes(photos: Path, tmp_path: Path) -> None:
    data = opened(photos, tmp_path / "runs")
    assert data.dataset.classes == ("cat", "dog")
    assert set(data.holdout) == {name for name in NAMES if is_held_out(name, 0.2)} != set()
    assert sorted([*data.train, *data.holdout]) == sorted(NAMES)
    assert data.select == data.report == data.test == ()
    assert not data.has_masks
    assert data.dataset.labels(["photo 0", "photo 1", "photo 2", "photo 3"]).tolist() == [
        [1, 1],
        [0, 0],
        [1, 0],
        [0, 1],
    ]
    assert data.dataset.image("photo 4").size == (12, 8)
    assert len(data.image_key(data.train)) == 64
    with pytest.raises(DataError, match="there are no masks"):
        data.dataset.mask("photo 4")


def test_photos_may_lie_in_a_folder_of_their_own(photos: Path, tmp_path: Path) -> None:
    flat = opened(photos, tmp_path / "runs").image_key(NAMES)
    (photos / "images").mkdir()
    for path in [path for path in photos.iterdir() if path.suffix in (".jpg", ".PNG")]:
        path.rename(photos / "images" / path.name)
    assert opened(photos, tmp_path / "runs").image_key(NAMES) == flat


def test_what_has_a_mask_is_scored_in_two_halves(photos: Path, tmp_path: Path) -> None:
    masked = NAMES[:10]
    add_masks(photos, masked)
    (photos / "classes.txt").write_text("cat\ndog\n")
    data = opened(photos, tmp_path / "runs")
    assert data.has_masks
    assert set(data.select) == {name for name in masked if half_of(name) == "a"} != set()
    assert set(data.report) == {name for name in masked if half_of(name) == "b"} != set()
    assert np.unique(data.dataset.mask("photo 6")).tolist() == [0, 1, 2]
    assert np.unique(data.dataset.mask("photo 3")).tolist() == [0, 2, 255]
    assert len(data.mask_key(data.select)) == 64
    assert check_lists(data.dataset, data.dataset.split_names()).problems == []
    assert not opened(photos, tmp_path / "runs", masks="none").has_masks


def test_masks_elsewhere_and_one_class_in_use(photos: Path, tmp_path: Path) -> None:
    add_masks(photos, NAMES[:10], "truth")
    (photos / "classes.txt").write_text("cat\ndog\n")
    data = opened(photos, tmp_path / "runs", masks=photos / "truth", classes=("dog",))
    assert set(data.train) | set(data.holdout) == {name for name in NAMES if NAMES.index(name) % 3 == 0}
    mask = data.dataset.mask("photo 6")
    assert np.unique(mask).tolist() == [0, 1, 255]  # the dog is 1 now, the cat is ignored
    assert (mask[2:6, 6:9] == 1).all()


def test_masks_need_an_order_of_classes(photos: Path, tmp_path: Path) -> None:
    add_masks(photos, NAMES[:10])
    assert problems(photos) == [
        f"{photos}/classes.txt: is missing, but masks hold ids and nothing says which class is which "
        "(write cat, dog into it, line k for mask id k)"
    ]
    for path in (photos / "masks").iterdir():  # from here on, a dog is 1 and a cat is 2
        mask = np.asarray(Image.open(path))
        Image.fromarray(np.choose(mask % 4, [mask, 2, 1, mask]).astype(np.uint8)).save(path)
    listed = opened(photos, tmp_path / "runs", classes=("dog", "cat"))  # a list of all is an order
    assert listed.dataset.classes == ("dog", "cat")
    table = ["image,dog,cat", *(f"{name},{int(not n % 3)},{int(not n % 2)}" for n, name in enumerate(NAMES))]
    (photos / "labels.csv").write_text("\n".join(table))
    assert opened(photos, tmp_path / "runs").dataset.known_classes == ("dog", "cat")  # and so are columns


def test_lists_are_text_files(photos: Path, tmp_path: Path) -> None:
    (photos / "mine.txt").write_text("photo 3.jpg\nphoto 2\nphoto 4\nphoto 6\nphoto 18\n")
    data = opened(photos, tmp_path / "runs", train="mine", holdout=0.0)
    assert data.train == ("photo 18", "photo 2", "photo 3", "photo 4", "photo 6")
    (photos / "bad.txt").write_text("photo 3\nphoto 3.jpg\nfoto 5.jpg\nphoto 5.jpeg\n")
    with pytest.raises(DataError) as caught:
        data.dataset.split("bad")
    assert [problem.where.rpartition(":")[2] for problem in caught.value.problems] == ["2", "3", "4"]
    assert [str(problem).partition(": ")[2] for problem in caught.value.problems] == [
        "photo 'photo 3.jpg' occurs twice (also in line 1)",
        "there is no photo 'foto 5.jpg' (did you mean 'photo 5.jpg'?)",
        "there is no photo 'photo 5.jpeg' (did you mean 'photo 5.jpg'?)",
    ]
    with pytest.raises(DataError, match=r"list is missing \(did you mean 'mine'\?; lists: all, bad, mine"):
        data.dataset.split("mien")


def test_photos_without_labels_are_asked_about_only_where_they_are_used(photos: Path, tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(photos / "new.jpg")
    (found,) = problems(photos)
    assert "labels.csv: photo 'new.jpg' has no labels (give it a row, with an empty label" in found
    (photos / "mine.txt").write_text("\n".join(NAMES))
    assert len(opened(photos, tmp_path / "runs", train="mine").labelled_ids) == len(NAMES)


def test_every_problem_at_once(photos: Path) -> None:
    (photos / "classes.txt").write_text("cat\ndogs\n")
    add_masks(photos, NAMES[:4])
    Image.new("L", (12, 8)).save(photos / "masks/photo 99.png")
    Image.new("L", (12, 8)).save(photos / "masks/photo 8.jpg")
    Image.new("L", (7, 7)).save(photos / "masks/photo 2.png")
    Image.fromarray(np.full((8, 12), 3, np.uint8)).save(photos / "masks/photo 1.png")
    (photos / "photo 5.jpg").write_bytes(b"no photo")
    Image.new("RGB", (12, 8)).save(photos / "photo 6.jpeg")
    (photos / "photo 7.heic").write_bytes(b"")
    with (photos / "labels.csv").open("a") as table:
        table.write("photo 7.heic,cat\nphoto 77.jpg,cat\n")
    found = [problem.removeprefix(f"{photos}/") for problem in problems(photos)]
    expected = [
        "photo 6.jpg: has the name of photo 6.jpeg, but names must differ without endings",
        "masks/photo 8.jpg: is no mask: masks end in .png (other formats change ids)",
        "masks/photo 99.png: is the mask of no photo (did you mean 'photo 9.jpg'?)",
        "labels.csv:2: class is 'dog', but must be one of classes.txt (did you mean 'dogs'?)",
        "labels.csv:26: there is no photo 'photo 7.heic' (it is there, but photos end in .jpg,",
        "labels.csv:27: there is no photo 'photo 77.jpg' (did you mean 'photo 7.jpg'?)",
        "photo 5.jpg: photo can't be decoded",
        "masks/photo 2.png: mask is 7 x 7, but must be 12 x 8 like its photo",
        "masks/photo 1.png: mask holds the ids 3, but they must be in [0, 2] or 255",
    ]
    for message in expected:
        assert sum(problem.startswith(message) for problem in found) == 1, (message, found)


def test_check_finds_what_a_mask_shows_and_the_table_does_not_say(photos: Path) -> None:
    add_masks(photos, NAMES[:4])
    (photos / "classes.txt").write_text("cat\ndog\n")
    mask = np.zeros((8, 12), np.uint8)
    mask[0, 0] = 2
    Image.fromarray(mask).save(photos / "masks/photo 2.png")
    dataset = FolderDataset(photos, masks=photos / "masks")
    assert [problem.message for problem in check_lists(dataset, ["all"]).problems] == [
        "mask shows dog, but the annotation does not name it"
    ]


def test_the_hint_for_a_name_with_two_endings(photos: Path) -> None:
    add_masks(photos, NAMES)
    (photos / "classes.txt").write_text("cat\ndog\n")
    (photos / "masks" / "photo 1.png").rename(photos / "masks" / "photo 1.jpg.png")
    Image.new("RGB", (12, 8)).save(photos / "photo 4.JPG")  # the table names photo 4.PNG
    found = problems(photos)
    assert f"{photos}/masks/photo 1.jpg.png: is the mask of no photo (did you mean 'photo 1.png'?)" in found
    assert any("another photo has this name with another ending" in one for one in found)
    assert not any("photos end in" in one for one in found), "both end like photos"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.symlink_to("/nowhere/at/all"), "is a link that leads nowhere"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: os.mkfifo(path), "is no regular file"),
    ],
)
def test_what_stands_in_the_place_of_a_file_is_named(
    make: Callable[[Path], None], message: str, photos: Path
) -> None:
    add_masks(photos, NAMES[:4])
    (photos / "classes.txt").write_text("cat\ndog\n")
    make(photos / "masks" / "photo 5.png")
    assert problems(photos) == [f"{photos / 'masks' / 'photo 5.png'}: is no mask: it {message}"]
    (photos / "masks" / "photo 5.png").rename(photos / "x.jpg")
    with (photos / "labels.csv").open("a") as table:
        table.write("x.jpg,cat\n")
    assert problems(photos) == [
        f"{photos / 'labels.csv'}:26: there is no photo 'x.jpg' (it is there, but {message})"
    ]


@pytest.mark.parametrize("name", ["masks", "classes.txt", "labels.csv"])
def test_a_link_that_leads_nowhere_does_not_count_as_missing(name: str, photos: Path) -> None:
    """A disk that isn't mounted must not make a data set without masks, or with other classes."""
    path = photos / name
    path.unlink(missing_ok=True)
    path.symlink_to("/nowhere/at/all")
    (problem,) = problems(photos)
    assert problem.startswith(f"{path}: ")


def test_a_spreadsheet_and_a_table_of_one_column_are_told(photos: Path) -> None:
    (photos / "labels.csv").rename(photos / "labels.xlsx")
    assert "export labels.xlsx as CSV" in problems(photos)[0]
    for heading, message in (
        ("image", "the heading is 'image', but must name labels, too"),
        ("image|labels", "separate cells by , ; or tabs"),
    ):
        (photos / "labels.csv").write_text(f"{heading}\nphoto 1|cat\n")
        assert message in problems(photos)[0]


def test_folders_that_are_none(tmp_path: Path, photos: Path) -> None:
    assert "there is no such folder" in problems(tmp_path / "nowhere")[0]
    (tmp_path / "deep" / "cats").mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(tmp_path / "deep/cats/a.jpg")
    assert "those in cats/ are not looked at" in problems(tmp_path / "deep")[0]
    (photos / "labels.csv").rename(photos / "etiquetas.csv")
    assert (
        "labels.csv: the table of labels is missing (name it with `data.labels`; the folder holds etiquetas.csv)"
        in problems(photos)[0]
    )
    assert opened(photos, tmp_path / "runs", labels=photos / "etiquetas.csv").dataset.classes == (
        "cat",
        "dog",
    )
    (photos / "labels.csv").touch()
    (photos / "labels.json").touch()
    assert "holds labels.csv and labels.json" in problems(photos)[0]


def test_classes_that_nobody_named(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"class is 'dgo'.*did you mean 'dog'\?"):
        opened(photos, tmp_path / "runs", classes=("cat", "dgo"))


def test_a_holdout_that_nobody_falls_into(photos: Path) -> None:
    (photos / "mine.txt").write_text("\n".join(name for name in NAMES if not is_held_out(name, 0.2)))
    (found,) = problems(photos, train="mine")
    assert "data.holdout: is 0.2, but by their hashes none of" in found


def test_a_holdout_that_shows_nothing(photos: Path) -> None:
    rows = [f"{name},{'' if is_held_out(name, 0.2) else 'cat'}" for name in NAMES]
    (photos / "labels.csv").write_text("\n".join(["image,labels", *rows]))
    assert "data.holdout: no class is on any of its" in problems(photos)[0]


def test_no_id_leads_out_of_the_folder(photos: Path) -> None:
    dataset = FolderDataset(photos)
    with pytest.raises(DataError, match="there is no photo"):
        dataset.image_path("../photos/photo 1")
    with pytest.raises(DataError, match="list is missing"):
        dataset.split("../photos/mine")


def test_a_photo_that_was_taken_upright_is_upright(photos: Path, tmp_path: Path) -> None:
    wide = Image.new("RGB", (12, 8), "blue")
    exif = wide.getexif()
    exif[0x0112] = 6
    wide.save(photos / "photo 1.jpg", exif=exif)
    data = opened(photos, tmp_path / "runs")
    assert data.dataset.image("photo 1").size == photo_size(photos / "photo 1.jpg") == (8, 12)
    assert photo_size(photos / "photo 2.jpg") == (12, 8)


def test_travels_to_processes_on_other_machines(photos: Path) -> None:
    dataset = FolderDataset(photos, ["dog"])
    twin = pickle.loads(pickle.dumps(dataset))
    assert twin.labels(["photo 3"]).tolist() == [[1]]
