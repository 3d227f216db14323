"""A photo that stands in two lists under two names would be chosen on and reported."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wsss.config import DataSpec
from wsss.data.check import check_lists
from wsss.data.pictures.fingerprint import Fingerprint
from wsss.data.pictures.looks import look_of
from wsss.data.readers.folder import FolderDataset
from wsss.data.readers.voc import VocDataset
from wsss.data.sample.data_set import SAMPLE_CLASSES, write_sample
from wsss.data.twins import find_twins, twins_of_lists
from wsss.data.view import open_data
from wsss.errors import DataError


def twins(lists: dict[str, Sequence[str]], *allow: str) -> tuple[list[str], list[str]]:
    """Look at lists of names like "a1", of which the letter is the photo."""
    prints = {id: Fingerprint(id[0], (1, 1)) for ids in lists.values() for id in ids}
    found = find_twins(lists, prints, allow, "here")
    return tuple([problem.message for problem in some] for some in found)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        ({"select": ["a1", "b1"], "report": ["c1", "a2"]}, "1 of 2 `report` photos are in `select` too"),
        ({"train": ["a1", "b1"], "test": ["a2", "b2"]}, "2 of 2 `test` photos are in `train` too"),
        ({"select": ["a1"], "test": ["a2"]}, "1 of 1 `test` photos are in `select` too"),
        ({"teach": ["a1"], "report": ["a2"]}, "under other names, such as a2 and a1"),
        ({"teach": ["a1"], "select": ["a2"]}, "1 of 1 `select` photos are in `teach` too"),
        ({"train": ["a1", "b1"], "report": ["a2"]}, ""),
        ({"select": ["a1", "a2"], "report": ["b1", "b2"]}, ""),
        (
            {"select": ["a1", "b1"], "report": ["a2", "a3", "c1"]},
            "2 of 3 `report` photos are in `select` too",
        ),
        ({"report": ["a1", "a2", "b1"], "test": ["a1", "a2"]}, ""),
    ],
)
def test_lists_that_must_be_apart_share_no_photo(lists: dict[str, Sequence[str]], said: str) -> None:
    problems, warnings = twins(lists)
    assert not warnings
    assert (said in problems[0]) if said else not problems


def test_a_few_among_many_are_warned_of() -> None:
    many = [chr(1000 + number) + "1" for number in range(200)]
    problems, warnings = twins({"train": ["a1", "b1"], "test": ["a2", "b2", *many]})
    assert not problems and "2 of 202" in warnings[0]
    problems, warnings = twins({"train": ["a1", "b1", "c1"], "test": ["a2", "b2", "c2", *many]})
    assert not warnings and "3 of 203" in problems[0]


def test_what_a_study_allows_itself_is_said_elsewhere() -> None:
    lists = {"train": ["a1"], "select": ["a2"], "report": ["a3"], "test": ["a4"]}
    assert twins(lists, "train_on_test", "select_on_report") == ([], [])
    assert len(twins(lists)[0]) == 4


def copied(
    root: Path, old: str, new: str, change: Callable[[Image.Image], Image.Image] | None = None
) -> None:
    """Make a photo, its mask and its annotation those of another; smaller or changed, where `change` says so."""
    files = [path for path in root.rglob(f"{old}.*") if path.is_file()]
    for path in sorted(files, key=lambda path: path.suffix):
        target = path.with_name(f"{new}{path.suffix}")
        if path.suffix == ".xml":
            text = path.read_text().replace(old, new)
            size = Image.open(root / f"JPEGImages/{new}.jpg").size
            for name, side in zip(("width", "height"), size, strict=True):
                text = re.sub(f"<{name}>.*</{name}>", f"<{name}>{side}</{name}>", text)
            target.write_text(text)
        elif change is None:
            target.write_bytes(path.read_bytes())
        elif path.suffix == ".jpg":
            change(Image.open(path)).save(target, quality=60)
        else:
            mask = Image.open(path)
            mask.resize(change(mask).size, Image.Resampling.NEAREST).save(target)


def half(photo: Image.Image) -> Image.Image:
    return photo.resize((photo.width // 2, photo.height // 2))


@pytest.fixture
def devkit(tmp_path: Path) -> tuple[Path, list[str], list[str]]:
    """A drawn devkit, and the ids of its lists `train` and `val`."""
    root = tmp_path / "devkit"
    write_sample(root, train=12, val=4, size=64)
    lists = [(root / f"ImageSets/Segmentation/{name}.txt").read_text().split() for name in ("train", "val")]
    return root, *lists  # type: ignore[return-value]


def spec(root: Path, **keys: Any) -> DataSpec:
    return DataSpec(dataset="voc", root=root, classes=SAMPLE_CLASSES, test={"split": "val"}, **keys)


def test_copies_in_a_data_set_are_found_before_anything_starts(
    devkit: tuple[Path, list[str], list[str]], tmp_path: Path
) -> None:
    root, (old, *_), (new, *_) = devkit
    copied(root, old, new)
    with pytest.raises(DataError, match=f"1 of 4 `test` photos are in `train` too.*{new} and {old}"):
        open_data(spec(root), storage=tmp_path / "one")
    assert open_data(spec(root, allow=("train_on_test",)), storage=tmp_path / "two").test


def test_a_smaller_copy_saved_again_is_warned_of(
    devkit: tuple[Path, list[str], list[str]], tmp_path: Path
) -> None:
    root, (old, *_), (new, *_) = devkit
    assert open_data(spec(root), storage=tmp_path).warnings == ()
    copied(root, old, new, half)
    for _ in range(2):  # also where both were looked at before
        warnings = open_data(spec(root), storage=tmp_path).warnings
        assert [warning.message for warning in warnings] == [
            f"1 of 4 `test` photos look like one in `{name}`, such as {new} and {old}"
            for name in ("train", "select")  # `select` is half of `train`
        ]
        assert warnings[0].hint == "look at them, and delete one of each if they are copies"
        assert warnings[0].where == str(root)
    assert open_data(spec(root, allow=("train_on_test",)), storage=tmp_path).warnings == ()


def test_the_data_check_warns_of_twins_and_look_alikes_once(
    devkit: tuple[Path, list[str], list[str]],
) -> None:
    root, train, val = devkit
    copied(root, train[0], val[0])
    copied(root, train[0], val[1], half)
    lists = root / "ImageSets/Segmentation"
    (lists / "trainval.txt").write_text("\n".join(train + val))  # holds both
    (lists / "few.txt").write_text("\n".join(train[:3]))  # says nothing that `train` doesn't
    (lists / "mixed.txt").write_text("\n".join([*train[:2], *val]))
    dataset = VocDataset(root)
    found = check_lists(dataset, dataset.split_names())
    assert not found.problems
    assert [warning.message for warning in found.warnings] == [
        f"1 of 4 `val` photos are in `train` too, under other names, such as {val[0]} and {train[0]}",
        f"1 of 4 `val` photos look like one in `train`, such as {val[1]} and {train[0]}",
    ]
    assert check_lists(dataset, ["train"]).warnings == check_lists(dataset, ["train", "few"]).warnings == []


def test_the_data_check_warns_of_one_photo_with_two_labels(tmp_path: Path) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (3, 30, 40, 3), np.uint8)
    for number, name in enumerate("abcdef"):
        Image.fromarray(photo[number // 2]).save(tmp_path / f"{name}.png")
    rows = ["image,labels", "a.png,cat", "b.png,cat;dog", "c.png,dog", "d.png,dog", "e.png,cat", "f.png,"]
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    (warning,) = check_lists(FolderDataset(tmp_path), ["all"]).warnings
    assert warning.message == (
        "2 photos stand under several names whose labels differ, such as a (cat) and b (cat, dog)"
    )


def test_photos_that_can_not_be_read_are_no_twins(devkit: tuple[Path, list[str], list[str]]) -> None:
    root, train, val = devkit
    for id in (train[0], val[0]):
        (root / f"JPEGImages/{id}.jpg").write_bytes(b"")
    (root / f"JPEGImages/{train[1]}.jpg").unlink()
    found = check_lists(VocDataset(root), ["train", "val", "none"])
    assert len(found.problems) == 4 and found.warnings == []


def look(number: int) -> str:
    rng = np.random.default_rng(number)
    return look_of(Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)))


@pytest.mark.parametrize(
    ("lists", "allow", "said"),
    [
        (
            {"train": ["a"], "test": ["b"]},
            (),
            ["1 of 1 `test` photos look like one in `train`, such as b and a"],
        ),
        ({"train": ["a"], "test": ["b"]}, ("train_on_test",), []),
        ({"train": ["a"], "test": ["a"]}, ("select_on_report",), []),
        ({"select": ["a", "b"], "report": ["c"]}, (), []),
        ({"select": ["a"], "report": ["b"]}, ("select_on_report",), []),
        ({"select": ["a"], "report": ["b", "c"]}, (), ["1 of 2 `report` photos look like one in `select`"]),
        (
            {"teach": ["a"], "select": ["b"]},
            ("select_on_report",),
            ["1 of 1 `select` photos look like one in"],
        ),
        ({"train": ["a"], "report": ["b"]}, (), []),
        ({"train": ["p"], "test": ["q"]}, (), []),
    ],
)
def test_look_alikes_are_warned_of_as_twins_are_refused(
    lists: dict[str, list[str]], allow: tuple[str, ...], said: list[str]
) -> None:
    """Photos a and b look the same, c another; p and q are too plain to tell."""
    looks = {"a": look(0), "b": look(0), "c": look(1), "p": "", "q": ""}
    prints = {id: Fingerprint(id, (1, 1), look=found) for id, found in looks.items()}
    problems, warnings = find_twins(lists, prints, allow, "here")
    assert problems == [] and len(warnings) == len(said)
    assert all(part in warning.message for part, warning in zip(said, warnings, strict=True))


def test_all_pairs_of_lists_are_compared() -> None:
    lists = {name: [f"{name}{number}" for number in range(3)] for name in "abcd"}
    prints = {id: Fingerprint(id[1:], (1, 1)) for ids in lists.values() for id in ids}
    told = [warning.message for warning in twins_of_lists(lists, prints, "here")]
    assert [message.split("`")[1::2] for message in told] == [
        [*pair] for pair in ("ba", "ca", "da", "cb", "db", "dc")
    ]
