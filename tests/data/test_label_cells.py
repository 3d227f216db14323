"""What people write into cells of labels: taken where it says one thing, refused with its line where not."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

import wsss.data.tables.text as text_module
from wsss.data.readers.folder import FolderDataset
from wsss.data.tables.label_files import read_labels
from wsss.data.tables.label_table import LabelTable
from wsss.errors import DataError, WsssError


def read(folder: Path, text: str | bytes, name: str = "t.csv") -> LabelTable:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_labels(folder / name)


def found(table: LabelTable) -> list[str]:
    """Return the problems without their folder, as they are when nothing but the table names the classes."""
    problems = [*table.problems, *table.class_problems()]
    return [str(problem).replace(f"{table.path.parent}/", "") for problem in problems]


@pytest.mark.parametrize("cell", ["cat,dog", "cat, dog", "cat;dog", " cat | dog ", "cat;;dog;", "dog,cat"])
def test_labels_are_split_at_comma_semicolon_and_bar(cell: str, tmp_path: Path) -> None:
    table = read(tmp_path, f'image,labels\na.jpg,"{cell}"\n')
    assert (table.labels, found(table)) == ({"a.jpg": ("cat", "dog")}, [])
    for content in ({"a.jpg": cell}, {"a.jpg": [cell]}, [{"image": "a.jpg", "labels": cell}]):
        assert read(tmp_path, json.dumps(content), "t.json").labels == {"a.jpg": ("cat", "dog")}


def test_comments_are_refused_and_numbers_are_not(tmp_path: Path) -> None:
    text = "image,labels\na.jpg,cat  # sure\nb.jpg,route #66\nc.jpg,cat\n"
    (problem,) = found(read(tmp_path, text, "t.csv"))
    assert problem.startswith("t.csv:2") and "without a comment (comments aren't read: write cat" in problem


@pytest.mark.parametrize(
    ("cell", "hint"),
    [
        ("['cat', 'dog']", "write cat;dog"),
        ("[cat]", "write cat"),
        ("{'cat', 'dog'}", "write cat;dog"),
        ("('cat', 'dog')", "write cat;dog"),
        ("('cat',)", "write cat"),
        ("'cat'", "write cat"),
        ("{cat: 1}", "write the names of what the image shows, cat;dog"),
        ("[]", "an image that shows no class has an empty cell"),
        ("{}", "an image that shows no class has an empty cell"),
    ],
)
def test_brackets_and_quotes_are_refused(cell: str, hint: str, tmp_path: Path) -> None:
    for text, name in (
        (f'image,labels\nb.jpg,cat\na.jpg,"{cell}"\n', "t.csv"),
        (json.dumps({"b.jpg": "cat", "a.jpg": cell}, indent=0), "t.json"),
    ):
        (problem,) = found(read(tmp_path, text, name))
        assert problem.startswith(f"{name}:3"), "the line is named"
        assert "label is " in problem and "without brackets and quotes" in problem and hint in problem


@pytest.mark.parametrize(
    "cell", ["nan", "NaN", "None", "NONE", "null", "N/A", "n/a", "na", "<NA>", "#N/A", "-", "--", "?", "???", "."]
)  # fmt: skip
def test_words_for_nothing_are_refused_and_an_empty_cell_is_not(cell: str, tmp_path: Path) -> None:
    (problem,) = found(read(tmp_path, f"image,labels\nb.jpg,cat\na.jpg,{cell}\nc.jpg,\n"))
    assert problem.startswith(f"t.csv:3: label is {cell!r}, which is no class's name")
    assert "an image that shows no class has an empty cell" in problem
    (within,) = found(read(tmp_path, f"image,labels\na.jpg,cat;{cell}\n"))
    assert within.startswith("t.csv:2: label is ")
    (listed,) = found(read(tmp_path, json.dumps([{"image": "a.jpg", "labels": [cell]}]), "t.json"))
    assert "t.json:1, entry 1: label is " in listed


def test_like_problems_are_one_with_all_their_lines(tmp_path: Path) -> None:
    rows = "".join(f"{number}.jpg,nan\n" for number in range(2, 1000))
    (problem,) = found(read(tmp_path, f"image,labels\n{rows}a.jpg,cat\n"))
    assert problem.startswith("t.csv:2: label is 'nan'")
    assert problem.endswith("also in line 3, 4, 5, 6, 7 and 992 more)")


def test_many_different_problems_are_capped(tmp_path: Path) -> None:
    rows = "".join(f'{number}.jpg,"[{number}x]"\n' for number in range(100_000))
    problems = found(read(tmp_path, f"image,labels\n{rows}"))
    assert len(problems) == 51
    assert problems[-1] == "t.csv: and 99,950 more problems"


@pytest.mark.parametrize(
    ("first", "second", "how"),
    [
        ("Cat", "cat", "capitals"),
        ("CAT", "cat", "capitals"),
        ("Großkatze", "GROSSKATZE", "capitals"),
        ("dining table", "dining_table", "blanks or hyphens"),
        ("t-shirt", "tshirt", "blanks or hyphens"),
    ],
)
def test_names_that_are_one_but_for_how_they_are_written(
    first: str, second: str, how: str, tmp_path: Path
) -> None:
    problems = found(read(tmp_path, f"image,labels\na.jpg,{first}\nb.jpg,x\nc.jpg,{second}\n"))
    assert len(problems) == 1
    assert f"in {how} only" in problems[0]
    assert first in problems[0] and second in problems[0]
    assert {"t.csv:2", "line 2"} & {part for part in ("t.csv:2", "line 2") if part in problems[0]}
    assert {"t.csv:4", "line 4"} & {part for part in ("t.csv:4", "line 4") if part in problems[0]}


@pytest.mark.parametrize("cell", ["cat dog", "dog cat", "Cat Dog", "cat/dog", "cat + dog", "cat and dog", "cat & dog", "cat_dog", "cat  dog bird"])  # fmt: skip
def test_several_classes_in_one_are_told(cell: str, tmp_path: Path) -> None:
    (problem,) = found(read(tmp_path, f"image,labels\na.jpg,cat\nb.jpg,dog\nc.jpg,bird\nd.jpg,{cell}\n"))
    assert problem.startswith("t.csv:5: class ")
    assert "'cat' (line 2)" in problem and "'dog' (line 3)" in problem and "write classes.txt" in problem


def test_the_same_words_in_another_order_are_told(tmp_path: Path) -> None:
    (problem,) = found(read(tmp_path, "image,labels\na.jpg,cat dog\nb.jpg,dog cat\n"))
    assert "t.csv:3: class 'dog cat' has the words of 'cat dog' (line 2)" in problem


@pytest.mark.parametrize("name", ["traffic light", "mouse (animal)", "crow's nest", "T-shirt", "3", "猫", "naïve", "🐱", "none of these", "void deck"])  # fmt: skip
def test_names_that_are_names(name: str, tmp_path: Path) -> None:
    table = read(tmp_path, f"image,labels\na.jpg,{name};other\n")
    assert (table.class_names, found(table)) == (tuple(sorted((name, "other"))), [])


NO_CLASSES = [
    *("background", "Background", "_background_", "__background__", "BACKGROUND", "back_ground", "0 background"),
    *("bg", "BG", "__ignore__", "ignore", "Ignored", "void", "Void", "unlabeled", "unlabelled", "UN_LABELED"),
]  # fmt: skip


@pytest.mark.parametrize("name", NO_CLASSES)
def test_background_is_no_class_of_a_table(name: str, tmp_path: Path) -> None:
    for text in (f"image,labels\na.jpg,cat\nb.jpg,{name}\n", f"image,cat,{name}\na.jpg,1,0\n"):
        (problem,) = found(read(tmp_path, text))
        assert f"class is {name!r}, but the classes must be foreground classes only" in problem
        assert "id 0 is background already" in problem


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,label,split\na.jpg,cat,train\n", "t.csv:1: one column of labels is expected, but beside 'label' there is 'split'"),
        ("image,width,height,labels\na.jpg,3,4,cat\n", "one column of labels is expected, but beside 'labels' there is 'width', 'height'"),
        ("image,label,label\na.jpg,cat,dog\n", "one column of labels is expected, but beside 'label' there is 'label'"),
        ("image,cat,dog,split\na.jpg,1,0,train\nb.jpg,0,1,val\n", "t.csv:2: column 'split' is 'train', but a column per class holds 0 and 1 (one column of labels is expected"),
        ("image,breed\na.jpg,siamese\n", "t.csv:2: column 'breed' is 'siamese', but a column per class holds 0 and 1 (one column of labels is expected, called label"),
        (",image,label\n0,a.jpg,cat\n", "its first column must be one of image, filename, file, photo, id (leave the column of row numbers out)"),
        ("image,,cat\na.jpg,1,1\n", "t.csv:1: column 2 has no name"),
        ('image,label\na.jpg,cat\nb.jpg,"dog\nc.jpg,cow\n', "t.csv:3: is no valid CSV: a quote is left open"),
        (f'image,label\na.jpg,{"x" * 200_000}\n', "t.csv:2: is no valid CSV: a cell is longer than 131,072 characters"),
        (f"image,{','.join(map(str, range(1_000_000)))}\n", "t.csv:1: the heading names 1,000,000 classes, but must name 1 to 254"),
        (b"image,label\na.jpg,cat\nb.jpg,d\0g\n", "t.csv:3: holds NUL characters"),
        ("image,label\na.jpg,cat\n".encode("utf-16-le"), "t.csv:1: holds NUL characters"),
        (b"\xff\xfe\x41", "t.csv:1: is not UTF-16, as its first bytes say"),
        ("sep=|\nimage|label\na.jpg|cat\n", "cells are separated by '|', but must be by , ; or tabs"),
        ("\n\n\n", "t.csv: is empty"),
    ],
)  # fmt: skip
def test_one_message_for_what_is_no_table(text: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)
    assert len(caught.value.problems) == 1
    assert len(str(caught.value)) < 600


EXPORTS = {
    "spreadsheet": "\ufeffimage;labels\r\na.jpg;cat,dog\r\nb.jpg;\r\n",
    "spreadsheet's Unicode text": "image\tlabels\r\na.jpg\tcat;dog\r\nb.jpg\t\r\n".encode("utf-16"),
    "big-endian": b"\xfe\xff" + 'image,labels\na.jpg,"cat,dog"\nb.jpg,\n'.encode("utf-16-be"),
    "separator named": "sep=;\nimage;labels\na.jpg;cat|dog\nb.jpg;\n",
    "old line ends": "image,labels\ra.jpg,cat;dog\rb.jpg,\r",
    "all quoted": '"image","labels"\n"a.jpg","cat;dog"\n"b.jpg",""\n',
    "empty columns and rows": "image,labels,,\n\na.jpg,cat;dog,,\n , ,,\nb.jpg,,,\n,,,\n",
    "blanks of all kinds": "\u200bimage , labels\n\u00a0a.jpg\t,\u00a0cat ; dog\u200b\u2003\nb.jpg,\u00a0\n",
    "the same row twice": "image,labels\na.jpg,cat;dog\na.jpg,dog;cat\nb.jpg,\n",
    "paths in two styles": "image,labels\nx\\a.jpg,cat\nx/a.jpg,dog\n./b.jpg,\n",
}


@pytest.mark.parametrize("name", EXPORTS)
def test_what_programs_save(name: str, tmp_path: Path) -> None:
    table = read(tmp_path, EXPORTS[name])
    assert (table.labels, found(table)) == ({"a.jpg": ("cat", "dog"), "b.jpg": ()}, [])


def test_a_row_that_says_nothing_beside_one_that_says_something(tmp_path: Path) -> None:
    (problem,) = found(read(tmp_path, "image,label\na.jpg,cat\nb.jpg,dog\na.jpg,\n"))
    assert problem.startswith("t.csv:4: image 'a.jpg' has labels in one row and an empty label in another")


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ('{"a.jpg": ["cat"],\n"b.jpg": null,\n"c.jpg": {"cat": 1}, "d.jpg": [["x"]]}', ["t.json:2, 'b.jpg': labels are None, but must be a list of names (an image that shows no class has", "t.json:3, 'c.jpg': labels are {'cat': 1}", "t.json:3, 'd.jpg': labels are [['x']]"]),
        ('{"a.jpg": ["cat", NaN], "b.jpg": [1]}', ["labels are ['cat', nan], but must", "labels are [1], but must"]),
        ('{"a.jpg": [""]}', ["labels are [''], one of which is empty (an image that shows no class"]),
        ('{"a.jpg": ["cat"],\n"a.jpg": ["dog"]}', ["t.json:2, 'a.jpg': key 'a.jpg' occurs twice"]),
        ('[{"image": "a.jpg",\n"image": "b.jpg", "labels": []}]', ["t.json:1, entry 1: key 'image' occurs twice"]),
        ('{"a.jpg": ["\\ud800cat"]}', ["label is '\\ud800cat', which holds control characters"]),
        ('[\n{"image": 3, "label": "cat"},\n{"photo": "a.jpg", "label": "cat"}]', ["t.json:2, entry 1: image is 3, but must be a file name"]),
    ],
)  # fmt: skip
def test_json_problems_with_their_lines(text: str, messages: list[str], tmp_path: Path) -> None:
    problems = [*map(str, read(tmp_path, text, "t.json").problems)]
    assert len(problems) == len(messages)
    assert all(message in problem for message, problem in zip(messages, problems, strict=True)), problems


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "its brackets are nested too deep"),
        (f'{{"a.jpg": {"9" * 5000}}}', "a number that is too long"),
        ('{"images": [{"id": 1}], "annotations": []}', "is an annotation file of COCO"),
        ('{"a.jpg": ["cat"]}\n{"b.jpg": ["dog"]}', "t.json:2: is no valid JSON: Extra data"),
        ('"cat"', "holds no labels"),
        ("[]", "holds no labels"),
    ],
)
def test_json_that_is_no_table(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, text, "t.json")
    assert message in str(caught.value) and len(str(caught.value)) < 400


def test_a_file_that_is_none_or_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match=r"pipe\.csv: is no regular file"):
        read_labels(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match=r"folder\.csv: is no regular file"):
        read_labels(tmp_path / "folder.csv")
    monkeypatch.setattr(text_module, "MOST_BYTES", 2**20)
    with pytest.raises(DataError, match=r"t\.csv: is 2 MiB long, but must be at most 1"):
        read(tmp_path, b"x" * 2**21)


# Accents


def photos(folder: Path, *names: str) -> Path:
    for name in names:
        Image.new("RGB", (8, 8)).save(folder / name)
    return folder


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("in_table", ["NFC", "NFD"])
def test_accents_in_either_form_are_equal(on_disk: str, in_table: str, tmp_path: Path) -> None:
    def there(text: str) -> str:
        return unicodedata.normalize(on_disk, text)  # type: ignore[arg-type]

    def here(text: str) -> str:
        return unicodedata.normalize(in_table, text)  # type: ignore[arg-type]

    photos(tmp_path, there("crème.jpg"), there("Ångström.PNG"))
    rows = f"{here('crème.jpg')},{here('chèvre')}\n{there('Ångström.png')},{there('chèvre')};{here('œuf')}\n"
    (tmp_path / "labels.csv").write_text(f"image,labels\n{rows}")
    (tmp_path / "mine.txt").write_text(here("Ångström\ncrème.jpg\n"))
    (tmp_path / "masks").mkdir()
    Image.new("L", (8, 8), 1).save(tmp_path / "masks" / here("crème.png"))
    (tmp_path / "classes.txt").write_text(there("chèvre\nœuf\n"))
    dataset = FolderDataset(tmp_path, [here("chèvre")], masks=tmp_path / "masks")
    assert dataset.problems == ()
    assert dataset.classes == ("chèvre",)
    ids = dataset.split("mine")
    assert ids == ("Ångström", "crème"), "ids are in composed form, wherever the files were copied from"
    assert dataset.labels(ids).tolist() == [[1], [1]]
    assert dataset.image("crème").size == dataset.mask("crème").shape == (8, 8)


def test_two_photos_whose_names_look_the_same(tmp_path: Path) -> None:
    photos(tmp_path, "e\u0301.jpg", "\u00e9.jpg")
    (tmp_path / "labels.csv").write_text("image,labels\n\u00e9.jpg,cat\n")
    (problem,) = FolderDataset(tmp_path).problems
    assert "names must differ without endings" in problem.message


def test_photos_are_found_whatever_the_capitals_of_their_ending(tmp_path: Path) -> None:
    photos(tmp_path, "a.JPG", "b.jpg", "Screenshot 5\u202fPM.png")
    (tmp_path / "labels.csv").write_text("image,labels\na.jpg,cat\nb.Jpg,dog\nScreenshot 5 PM.PNG,cat\n")
    dataset = FolderDataset(tmp_path)
    assert dataset.problems == ()
    assert dataset.labels(["a", "b", "Screenshot 5\u202fPM"]).tolist() == [[1, 0], [0, 1], [1, 0]]
    (tmp_path / "labels.csv").write_text("image,labels\nA.jpg,cat\nb.png,dog\n")
    hints = [problem.hint for problem in FolderDataset(tmp_path).problems]
    assert hints == ["did you mean 'a.JPG'?", "did you mean 'b.jpg'?"]


# Anything


CELLS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["cat", "Cat", "nan", "[]", "['cat']", "cat;dog", "cat dog", "background", '"', "\u200b", "1", "0"]
    ),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(CELLS, max_size=4), max_size=6), separator=st.sampled_from(",;\t"))
def test_any_table_gives_classes_or_messages(rows: list[list[str]], separator: str, tmp_path: Path) -> None:
    lines = [f"image{separator}labels", *(separator.join(row) for row in rows)]
    look_at(read_or_none(tmp_path, "\n".join(lines).encode("utf-8", "surrogatepass"), "t.csv"))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200), name=st.sampled_from(["t.csv", "t.tsv", "t.json"]))
@example(content=b'{"a": "\\ud800"}', name="t.json")
def test_any_bytes_give_classes_or_messages(content: bytes, name: str, tmp_path: Path) -> None:
    look_at(read_or_none(tmp_path, content, name))


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | CELLS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(CELLS | st.just("image"), inner, max_size=3),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=JSON)
def test_any_json_gives_classes_or_messages(content: object, tmp_path: Path) -> None:
    look_at(read_or_none(tmp_path, json.dumps(content).encode(), "t.json"))


def read_or_none(folder: Path, content: bytes, name: str) -> LabelTable | None:
    try:
        return read(folder, content, name)
    except WsssError as error:
        text = str(error)
    assert len(text) < 4000
    text.encode()  # can be printed
    return None


def look_at(table: LabelTable | None) -> None:
    if table is None:
        return
    for problem in found(table):
        assert len(problem) < 2000
        problem.encode()
    if not found(table):
        for name in table.class_names:
            assert name == unicodedata.normalize("NFC", name).strip() != ""
            assert not {*name} & {*'[]{}",;|\n\0'}
            assert name.casefold() not in ("nan", "none", "background")
        assert len({name.casefold() for name in table.class_names}) == len(table.class_names)
