"""A photo that stands in two lists under two names would be chosen on and reported."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from wsss.config import DataSpec
from wsss.data.twins import find_twins
from wsss.data.view import open_data
from wsss.errors import DataError


def twins(lists: dict[str, Sequence[str]], *allow: str) -> tuple[list[str], list[str]]:
    """Look at lists of names like "a1", of which the letter is the photo."""
    found = find_twins(lists, lambda ids: [id[0] for id in ids], allow, "here")
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


def test_copies_in_a_data_set_are_found_before_anything_starts(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"sample": {"train": 12, "val": 4, "size": 64}}
    drawn = open_data(DataSpec(dataset="sample", **fields), storage=tmp_path)
    root = tmp_path / "copied"
    shutil.copytree(drawn.dataset.root, root)
    old, new = drawn.train[0], (root / "ImageSets/Segmentation/val.txt").read_text().split()[0]
    for path in [path for path in root.rglob(f"{old}.*") if path.is_file()]:
        content = path.read_bytes().replace(old.encode(), new.encode())
        path.with_name(f"{new}{path.suffix}").write_bytes(content)
    own = {"dataset": "voc", "root": root, "classes": drawn.dataset.classes, "test": {"split": "val"}}
    with pytest.raises(DataError, match=f"1 of 4 `test` photos are in `train` too.*{new} and {old}"):
        open_data(DataSpec(**own), storage=tmp_path / "one")
    assert open_data(DataSpec(**own, allow=("train_on_test",)), storage=tmp_path / "two").test
