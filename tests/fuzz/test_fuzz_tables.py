"""Tables of labels and XML annotations from strangers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bounds import examples, survives, told
from hostile import json_like, texts
from hypothesis import example, given
from hypothesis import strategies as st

from wsss.data.readers.annotations import read_annotation
from wsss.data.tables.label_files import read_labels
from wsss.errors import WsssError

XML = """<?xml version="1.0" encoding="UTF-8"?>
<annotation><filename>a.jpg</filename><size><width>40</width><height>30</height></size>
<object><name>cat</name><bndbox><xmin>1</xmin></bndbox></object><object><name>dog</name></object></annotation>
"""
cells = (
    st.sampled_from(
        [
            "a.jpg",
            "b.jpg",
            "../../c.jpg",
            "cat",
            "dog",
            "cat;dog",
            "1",
            "0",
            "",
            "image",
            "labels",
            "nan",
            '"',
            "\0",
        ]
    )
    | texts
)
rows = st.lists(st.lists(cells, max_size=5), max_size=8)
headings = st.sampled_from(
    [
        ["image", "label"],
        ["image", "labels"],
        ["image", "cat", "dog"],
        ["FILE", "class"],
        ["image", "cat", "cat"],
    ]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


def table(folder: Path, name: str, content: bytes) -> None:
    path = folder / name
    path.write_bytes(content)
    found = survives(lambda: read_labels(path))
    if found is None:
        return
    assert all(isinstance(photo, str) and "/" not in photo for photo in found.labels)
    assert all(isinstance(name, str) and name for names in found.labels.values() for name in names)
    if found.problems:
        told(f"error: {WsssError(found.problems)}\n")


def encoded(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


@given(headings, rows, st.sampled_from(",;\t"), st.sampled_from((".csv", ".tsv", ".CSV")))
@examples(250)
def test_any_rows(
    folder: Path, heading: list[str], lines: list[list[str]], separator: str, ending: str
) -> None:
    text = "\n".join(separator.join(line) for line in [heading, *lines])
    table(folder, f"labels{ending}", encoded(text))


@given(st.binary(max_size=200) | texts.map(encoded), st.sampled_from((".csv", ".tsv", ".json", ".txt", "")))
@example(b"\0" * 100, ".csv")
@example(b"image,labels\n" + b"a.jpg," + b"x" * 200_000, ".csv")
@example(b"image," + b",".join(b"c%d" % n for n in range(20_000)) + b"\n", ".csv")
@example(b"image,labels\n" + b'"' * 1001, ".csv")
@example(b"image,labels\n" + b"a.jpg,cat\n" * 20_000, ".csv")
@example(b"image,labels\n" + b"".join(b"%d.jpg,cat,dog\n" % n for n in range(5000)), ".csv")
@example("image,labels\na.jpg,cat\n".encode("utf-16"), ".csv")
@example(b"[" * 100_000, ".json")
@example(b'{"a":' * 100_000, ".json")
@example(b'{"a.jpg": [' + b"9" * 5000 + b"]}", ".json")
@example(b'{"a.jpg": NaN, "b.jpg": Infinity}', ".json")
@example(b'{"a.jpg": ["\\ud800"]}', ".json")
@example(b'{"a.jpg": ["\\u001b[31m"], "\\u0000": ["cat"]}', ".json")
@examples(200)
def test_any_bytes(folder: Path, content: bytes, ending: str) -> None:
    table(folder, f"labels{ending}", content)


@given(
    st.dictionaries(cells, json_like, max_size=5)
    | st.lists(
        st.dictionaries(
            st.sampled_from(["image", "labels", "Image", "class"]) | texts, json_like, max_size=3
        ),
        max_size=5,
    )
    | json_like
)
@examples(200)
def test_any_json(folder: Path, content: object) -> None:
    table(folder, "labels.json", encoded(json.dumps(content)))


def annotation(folder: Path, content: bytes) -> None:
    path = folder / "a.xml"
    path.write_bytes(content)
    for known in (None, ("cat", "dog")):
        found = survives(lambda known=known: read_annotation(path, known))
        assert found is None or all(isinstance(name, str) for name in found.names)


def deep(levels: int) -> bytes:
    return b"<annotation>" + b"<a>" * levels + b"</a>" * levels + b"</annotation>"


@given(st.data())
@examples(200)
def test_xml_with_parts_lost_and_put_in(folder: Path, data: st.DataObject) -> None:
    content = XML
    for _ in range(data.draw(st.integers(1, 4))):
        start, end = sorted(data.draw(st.integers(0, len(content))) for _ in range(2))
        piece = data.draw(
            st.sampled_from(["", "<", ">", "&", "<name>", "</object>", "&#0;", "]]>", "9" * 5000]) | texts
        )
        content = content[:start] + piece + content[min(end, start + data.draw(st.integers(0, 20))) :]
    annotation(folder, encoded(content))


@given(st.binary(max_size=120))
@example(XML.replace("40", "9" * 5000).encode())
@example(XML.replace("40", "-1").encode())
@example(XML.replace("cat", "\x1b[31m").encode())
@example(XML.replace("cat", "x" * 200_000).encode())
@example(XML.replace("UTF-8", "x" * 5000).encode())
@example(XML.replace("UTF-8", "zip").encode())
@example(XML.encode("utf-16"))
@example(deep(5_000))
@example(b"<annotation>" + b"<object><name>%d</name></object>" * 1 % 7 * 20_000 + b"</annotation>")
@example(
    b"<annotation>"
    + b"".join(b"<object><name>n%d</name></object>" % n for n in range(5000))
    + b"</annotation>"
)
@example(b'<!DOCTYPE a [<!ENTITY b "cc"><!ENTITY d "&b;&b;">]><annotation>&d;</annotation>')
@example(b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>')
@example(b"<annotation " + b" ".join(b'a%d="1"' % n for n in range(10_000)) + b"/>")
@examples(100)
def test_any_xml(folder: Path, content: bytes) -> None:
    annotation(folder, content)
