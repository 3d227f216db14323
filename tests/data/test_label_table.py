"""Tables of labels: every form says the same, and what is wrong is said with its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wsss.data.tables.label_files import read_labels
from wsss.data.tables.label_table import LabelTable
from wsss.errors import DataError

SAID = {"a.jpg": ("cat", "dog"), "b.png": ("dog",), "c.jpg": ()}

FORMS = {
    "one label a row.csv": "image,label\na.jpg,dog\na.jpg,cat\nb.png,dog\nc.jpg,\n",
    "many labels a cell.csv": "filename,labels\na.jpg,cat;dog\nb.png,dog\nc.jpg,\n",
    "bars.csv": "Image,Labels\na.jpg,cat| dog\nb.png,dog\n\nc.jpg,\n",
    "columns.csv": "image,cat,dog\na.jpg,1,1\nb.png,0,1\nc.jpg,0,\n",
    "words.csv": "image,cat,dog\na.jpg,True,true\nb.png,no,yes\nc.jpg,false,FALSE\n",
    "a spreadsheet's.csv": "\ufeffimage;cat;dog\r\na.jpg;1;1\r\nb.png;0;1\r\nc.jpg;0;0\r\n",
    "tabs.tsv": "image\tlabels\na.jpg\tcat;dog\nb.png\tdog\nc.jpg\t\n",
    "paths.csv": "image,label\nphotos/a.jpg,dog\nphotos/a.jpg,cat\nphotos\\b.png,dog\nphotos/c.jpg,\n",
    "mapping.json": json.dumps({"a.jpg": ["dog", "cat"], "b.png": "dog", "c.jpg": []}),
    "objects.json": json.dumps(
        [
            {"image": "a.jpg", "labels": ["dog", "cat"]},
            {"file": "b.png", "label": "dog", "width": 3},
            {"image": "c.jpg", "labels": []},
        ]
    ),
}


def read(folder: Path, name: str, text: str) -> LabelTable:
    (folder / name).write_text(text, encoding="utf-8", newline="")
    return read_labels(folder / name)


@pytest.mark.parametrize("name", FORMS)
def test_every_form_says_the_same(name: str, tmp_path: Path) -> None:
    table = read(tmp_path, name, FORMS[name])
    assert table.problems == []
    assert table.labels == SAID
    assert table.class_names == ("cat", "dog")


def test_columns_have_an_order_and_names_do_not(tmp_path: Path) -> None:
    assert read(tmp_path, "a.csv", "image,dog,cat\na.jpg,1,1\n").class_names == ("dog", "cat")
    assert read(tmp_path, "b.csv", "image,label\na.jpg,dog\na.jpg,cat\n").columns == ()


def test_one_column_with_a_class_name_is_that_class(tmp_path: Path) -> None:
    table = read(tmp_path, "a.csv", "image,crack\na.jpg,1\nb.jpg,0\n")
    assert table.labels == {"a.jpg": ("crack",), "b.jpg": ()} and table.columns == ("crack",)


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("image,cat,dog\na.jpg,1\nb.jpg,2,0\nb.jpg,0,1\n", [":2: has 2 cells, but the heading has 3", ":3: column 'cat' is '2', but must be 0 or 1", ":4: image 'b.jpg' was labelled before"]),
        ("image,labels\na.jpg,cat,dog\n", [":2: has 3 cells, but the heading has 2 (put a cell into quotes"]),
        ("image,label\nx/a.jpg,cat\ny/a.jpg,dog\n", [":3: 'y/a.jpg' and 'x/a.jpg' would be the same image"]),
        ("image,label\na.jpg,1\nb.jpg,0\n", ["the labels are 0 and 1, not names (name the column after"]),
        ("image,label\n,cat\n", [":2: image is '', but must be a file name"]),
    ],
)  # fmt: skip
def test_all_problems_with_their_lines(text: str, messages: list[str], tmp_path: Path) -> None:
    problems = [str(problem) for problem in read(tmp_path, "t.csv", text).problems]
    assert len(problems) == len(messages)
    assert all(message in problem for message, problem in zip(messages, problems, strict=True)), problems


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "", "t.csv: is empty"),
        ("t.csv", "a.jpg,cat\n", "t.csv:1: the heading is 'a.jpg,cat', but its first column must be one of image,"),
        ("t.csv", "image\na.jpg\n", "the heading is 'image'"),
        ("t.csv", 'image,label\n"a.jpg,cat\n', "is no valid CSV"),
        ("t.xlsx", "", "labels end in '.xlsx', but must be .csv, .tsv or .json"),
        ("t.json", "{", "is no valid JSON"),
        ("t.json", "3", 'holds no labels (expected {"a.jpg": ["cat"]}'),
    ],
)  # fmt: skip
def test_no_known_form(name: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, name, text)
    assert message in str(caught.value)


def test_json_problems(tmp_path: Path) -> None:
    twice = read(tmp_path, "t.json", '{"a.jpg": ["cat"], "a.jpg": ["dog"], "b.jpg": 3}')
    assert [problem.message for problem in twice.problems] == [
        "key 'a.jpg' occurs twice",
        "labels are 3, but must be a list of names",
    ]
    lacking = read(tmp_path, "u.json", '[{"labels": ["cat"]}, {"image": "a.jpg"}, 7]')
    assert [str(problem).partition(", entry ")[2] for problem in lacking.problems] == [
        "1: image is None, but must be a file name (also in line 1, entry 3)",
        "2: labels are None, but must be a list of names (an image that shows no class has an empty cell, "
        "or [] in JSON)",
    ]


def test_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"image,label\na.jpg,ch\xe8vre\n")
    with pytest.raises(DataError, match=r"t\.csv:2: is not UTF-8"):
        read_labels(tmp_path / "t.csv")
