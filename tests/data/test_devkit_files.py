"""Devkits as they are found in the wild: other endings, other lists, other annotations."""

from __future__ import annotations

import pickle
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wsss.data.check import check_lists
from wsss.data.readers.annotations import read_annotation
from wsss.data.readers.voc import VocDataset
from wsss.errors import DataError

TRAIN = ("2007_000001", "2007_000002", "2007_000003", "x_4")


def write_list(root: Path, content: str | bytes) -> VocDataset:
    path = root / "ImageSets/Segmentation/mine.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return VocDataset(root)


def refused(root: Path, content: str | bytes) -> list[str]:
    with pytest.raises(DataError) as caught:
        write_list(root, content).split("mine")
    return [str(problem).partition("mine.txt")[2] for problem in caught.value.problems]


LISTS = {
    "two columns": "/JPEGImages/2007_000001.jpg /SegmentationClass/2007_000001.png\n/JPEGImages/x_4.jpg /SegmentationClass/x_4.png\n",
    "augmented": "JPEGImages/2007_000001.jpg SegmentationClassAug/2007_000001.png\nJPEGImages/x_4.jpg SegmentationClassAug/x_4.png\n",
    "tabs and a root": "VOCdevkit/VOC2012/JPEGImages/2007_000001.jpg\t/a/SegmentationClass/2007_000001.png\n./JPEGImages/x_4.jpg\tSegmentationClass/x_4.png\n",
    "commas": "JPEGImages/2007_000001.jpg,SegmentationClass/2007_000001.png\nx_4.jpg, x_4.png\n",
    "endings": "2007_000001.jpg\nx_4.JPG\n",
    "paths": "/data/VOC2012/JPEGImages/2007_000001.jpg\nJPEGImages/x_4.jpg\n",
    "backslashes": "JPEGImages\\2007_000001.jpg SegmentationClass\\2007_000001.png\r\nC:\\data\\JPEGImages\\x_4.jpg\r\n",
    "line ends": "2007_000001\r\nx_4\r\n\r\n",
    "old line ends": "2007_000001\rx_4\r",
    "byte order mark": "\ufeff2007_000001\nx_4\n",
    "two bytes a letter": "2007_000001\nx_4\n".encode("utf-16"),
    "blanks": "  2007_000001\t\n\n \u00a0\nx_4\u200b \n",
    "comments": "# train\n2007_000001\n  # more\nx_4\n",
}  # fmt: skip


@pytest.mark.parametrize("name", LISTS)
def test_lists_say_ids_in_many_ways(name: str, tiny_voc: Path) -> None:
    assert write_list(tiny_voc, LISTS[name]).split("mine") == ("2007_000001", "x_4")


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("x_4\n../../x\n", [":2: id is '../../x', but must be a bare file name"]),
        ("../JPEGImages/x_4.jpg\n", [":1: id is '../JPEGImages/x_4.jpg', but must be a bare"]),
        ("..\\..\\x_4\n", [":1: id is '../../x_4', but must be"]),
        ("/etc/passwd\n", [":1: id is '/etc/passwd', but must be a bare file name (or a path like /JPEGImages/ID.jpg)"]),
        ("Annotations/x_4.xml\n", [":1: id is 'Annotations/x_4.xml'"]),
        ("/JPEGImages/x_4.jpg /SegmentationClass/2007_000001.png\n", [":1: mask is '/SegmentationClass/2007_000001.png', but must be SegmentationClass/x_4.png, like the photo"]),
        ("/JPEGImages/x_4.jpg /Depth/x_4.png\n", [":1: mask is '/Depth/x_4.png', but must be SegmentationClass/x_4.png"]),
        ("x_4 -1\n", [":1: line is 'x_4 -1', 2 columns"]),
        ("x_4 2007_000001\n", [":1: line is 'x_4 2007_000001', 2 columns"]),
        ("x_4\n2007_000001\nx_4.jpg\n", [":3: id 'x_4' occurs twice (also in line 1)"]),
        ("x_4\nJPEGImages/x_4.jpg\n", [":2: id 'x_4' occurs twice (also in line 1)"]),
        ("# nothing\n\n", [": list is empty"]),
        (b"x_4\n\0\0\n", [":2: holds NUL characters"]),
        (b"x_4\ncaf\xe9\n", [":2: is not UTF-8"]),
        ("../a\n../b\n", [":1: id is '../a'", ":2: id is '../b'"]),
    ],
)  # fmt: skip
def test_lines_that_are_no_ids(text: str | bytes, messages: list[str], tiny_voc: Path) -> None:
    problems = refused(tiny_voc, text)
    assert len(problems) == len(messages)
    assert all(found.startswith(message) for found, message in zip(problems, messages, strict=True)), problems


def test_many_bad_lines_are_counted(tiny_voc: Path) -> None:
    problems = refused(tiny_voc, "../x\n" * 10_000)
    assert len(problems) == 51
    assert problems[-1] == ": and 9950 more problems"


def test_an_id_may_hold_blanks_dots_and_a_hash(tiny_voc: Path) -> None:
    for folder, ending in (("JPEGImages", "jpg"), ("Annotations", "xml"), ("SegmentationClass", "png")):
        source = (tiny_voc / folder / f"x_4.{ending}").read_bytes()
        for id in ("my photo 1", "a.v1", "a.v1.jpg", "#7"):
            (tiny_voc / folder / f"{id}.{ending}").write_bytes(source)
    dataset = write_list(tiny_voc, "my photo 1\na.v1\na.v1.jpg\n#7\n# a comment\n")
    assert dataset.split("mine") == ("my photo 1", "a.v1", "a.v1.jpg", "#7")
    assert check_lists(dataset, ["mine", "train"]).problems == []


def test_lists_that_a_file_manager_left_are_none(tiny_voc: Path) -> None:
    (tiny_voc / "ImageSets/Segmentation/._train.txt").write_bytes(b"\0\5\x16")
    (tiny_voc / "JPEGImages/._x_4.jpg").write_bytes(b"\0\5\x16")
    dataset = VocDataset(tiny_voc)
    assert dataset.split_names() == ("train", "val")
    assert len(dataset.tables()) == 2
    assert check_lists(dataset, dataset.split_names()).problems == []


# Files


def test_endings_in_capitals_and_other_formats(tiny_voc: Path) -> None:
    photos, masks, notes = (tiny_voc / name for name in ("JPEGImages", "SegmentationClass", "Annotations"))
    (photos / "x_4.jpg").rename(photos / "x_4.JPG")
    (photos / "2007_000001.jpg").rename(photos / "2007_000001.jpeg")
    (masks / "x_4.png").rename(masks / "x_4.PNG")
    (notes / "x_4.xml").rename(notes / "x_4.XML")
    dataset = VocDataset(tiny_voc)
    assert dataset.image_path("x_4").name == "x_4.JPG"
    assert dataset.image_path("2007_000001").name == "2007_000001.jpeg"
    assert check_lists(dataset, ["train", "val"]).problems == []
    twin = pickle.loads(pickle.dumps(dataset))
    assert twin.image("x_4").size == twin.mask("x_4").shape[::-1] == (40, 30)


def test_the_usual_ending_comes_first_and_two_others_are_asked_about(tiny_voc: Path) -> None:
    photos = tiny_voc / "JPEGImages"
    content = (photos / "x_4.jpg").read_bytes()
    (photos / "x_4.png").write_bytes(b"another")
    assert VocDataset(tiny_voc).image_path("x_4").name == "x_4.jpg"
    (photos / "x_4.jpg").unlink()
    (photos / "x_4.webp").write_bytes(content)
    (problem,) = check_lists(VocDataset(tiny_voc), ["train", "val"]).problems
    assert problem.message == "there are 'x_4.png' and 'x_4.webp', but must be one file of that name"


def test_accents_in_either_form(tiny_voc: Path) -> None:
    for folder, ending in (("JPEGImages", "jpg"), ("Annotations", "xml"), ("SegmentationClass", "png")):
        path = tiny_voc / folder / f"x_4.{ending}"
        path.rename(path.with_name(unicodedata.normalize("NFD", f"tête.{ending}")))
    for form in ("NFC", "NFD"):
        dataset = write_list(tiny_voc, unicodedata.normalize(form, "tête\n"))  # type: ignore[arg-type]
        assert dataset.split("mine") == (unicodedata.normalize("NFC", "tête"),)
        assert check_lists(dataset, ["mine", "val"]).problems == []


def test_a_hint_names_the_file_that_is_there(tiny_voc: Path) -> None:
    photos, masks, notes = (tiny_voc / name for name in ("JPEGImages", "SegmentationClass", "Annotations"))
    (photos / "x_4.jpg").rename(photos / "X_4.jpg")
    (masks / "2007_000001.png").rename(masks / "2007_000001.gif")
    (notes / "2007_000002.xml").rename(notes / "2007_00002.xml")
    problems = check_lists(VocDataset(tiny_voc), ["train", "val"]).problems
    assert [(Path(problem.where).name, problem.hint) for problem in problems] == [
        ("2007_000001.png", "'2007_000001.gif' is there, but must end in .png"),
        ("2007_000002.xml", "did you mean '2007_00002.xml'?"),
        ("x_4.jpg", "did you mean 'X_4.jpg'?"),
    ]
    assert {problem.message for problem in problems} == {"file is missing"}


# Annotations


def annotate(root: Path, objects: str, attributes: str = "") -> VocDataset:
    (root / "Annotations/x_4.xml").write_text(f"<annotation{attributes}>{objects}</annotation>")
    return VocDataset(root)


@pytest.mark.parametrize(
    "attributes", [' xmlns="http://example.org/voc"', ' xmlns:v="http://example.org/voc" v:by="me"', ""]
)
def test_a_namespace_changes_nothing(attributes: str, tiny_voc: Path) -> None:
    size = "<size><width>40</width><height>30</height></size>"
    text = f"<!-- by hand -->{size}<object><name> bus\u200b\n</name></object>"
    annotation = annotate(tiny_voc, text, attributes).annotation("x_4")
    assert (annotation.names, annotation.size) == (("bus",), (40, 30))


def test_a_prefixed_namespace(tiny_voc: Path) -> None:
    text = '<v:annotation xmlns:v="http://example.org/v"><v:object><v:name>bus</v:name></v:object></v:annotation>'
    (tiny_voc / "Annotations/x_4.xml").write_text(text)
    assert VocDataset(tiny_voc).annotation("x_4").names == ("bus",)


@pytest.mark.parametrize(
    ("objects", "messages"),
    [
        ("<object><name></name></object>", ["x_4.xml, object 1: has an empty <name>, but must name one class (take the object out"]),
        ("<object><name>bus</name></object><object><name>  </name></object>", ["x_4.xml, object 2: has an empty <name>"]),
        ("<object><name>bus</name><name>car</name></object>", ["x_4.xml, object 1: has 2 <name>, but must name one class"]),
        ("<object><pose/></object><object><name/></object>", ["x_4.xml, object 1: has no <name>", "x_4.xml, object 2: has an empty <name>"]),
        ("<objects><object><name>bus</name></object></objects>", ["x_4.xml: <object> stands inside of <objects>, but must stand right below <annotation>"]),
        ("<object><name>background</name></object>", ["x_4.xml: class is 'background', but must be one of the data set's (leave it out: id 0"]),
        ("<object><name>cat,dog</name></object>", ["x_4.xml: class is 'cat,dog', but must be one of the data set's"]),
        ("<object><name>cat dog</name></object>", ["x_4.xml: class is 'cat dog', but must be one of the data set's (did you mean 'cat;dog'?)"]),
    ],
)  # fmt: skip
def test_objects_without_a_class(objects: str, messages: list[str], tiny_voc: Path) -> None:
    dataset = annotate(tiny_voc, objects)
    (tiny_voc / "classes.txt").write_text("bus\ncat\ndog\n")
    with pytest.raises(DataError) as caught:
        VocDataset(tiny_voc).labels(["x_4"])
    problems = [str(problem).partition("Annotations/")[2] for problem in caught.value.problems]
    assert len(problems) == len(messages)
    assert all(found.startswith(message) for found, message in zip(problems, messages, strict=True)), problems
    assert dataset.annotation_path("x_4").is_file()


def test_tools_that_write_no_size(tiny_voc: Path) -> None:
    text = "<size><width>0</width><height>0</height></size><object><name>bus</name></object>"
    assert annotate(tiny_voc, text).annotation("x_4").size is None
    assert annotate(tiny_voc, "").annotation("x_4").names == (), "an image may show nothing"


TAGS = st.sampled_from(["object", "name", "size", "width", "annotation", "v:object"])
XML = st.recursive(
    st.text(st.characters(blacklist_characters="<&", blacklist_categories=("Cs", "Cc")), max_size=8),
    lambda inner: st.builds(
        lambda tag, parts: f"<{tag}>{''.join(parts)}</{tag}>", TAGS, st.lists(inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=XML, cut=st.integers(0, 400))
def test_any_annotation_gives_names_or_messages(text: str, cut: int, tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(f'<annotation xmlns:v="u">{text}</annotation>'[: 400 - cut])
    try:
        names, problems = read_annotation(path).names, ()
    except DataError as error:
        names, problems = (), error.problems
    assert all(problem.where.startswith(str(path)) for problem in problems)
    assert all(name and name == name.strip() for name in names)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(
        st.text(max_size=12) | st.sampled_from([*TRAIN, "x_4.jpg", "../x", "a/b", "JPEGImages/x_4.jpg"]),
        max_size=4,
    )
)
def test_no_list_leads_out_of_the_folder(lines: list[str], tmp_path: Path) -> None:
    root = tmp_path / "kit"
    for folder in ("JPEGImages", "Annotations", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "JPEGImages/x_4.jpg").touch()
    dataset = write_list(root, "\n".join(lines).encode("utf-8", "surrogatepass"))
    try:
        ids = dataset.split("mine")
    except DataError:
        return
    for id in ids:
        for path in (dataset.image_path(id), dataset.mask_path(id), dataset.annotation_path(id)):
            assert path.parent.parent == root
            assert path.resolve().parent == path.parent.resolve()
