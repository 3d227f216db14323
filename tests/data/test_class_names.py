"""Names of classes in `classes.txt` and in studies."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wsss.data.readers.voc import VocDataset
from wsss.data.tables.class_names import (
    class_name_problems,
    is_doubtful,
    is_no_class,
    read_class_names,
    several_in,
)
from wsss.errors import ConfigError, DataError

NO_CLASSES = [
    *("background", "Background", "_background_", "__background__", "BACK-GROUND", "0 background", "BG"),
    *(
        "void",
        "VOID",
        "__ignore__",
        "Ignore",
        "ignored",
        "unlabeled",
        "Unlabelled",
        "_unlabeled_",
        "don't care",
    ),
]


@pytest.mark.parametrize("name", NO_CLASSES)
@pytest.mark.parametrize("line", [1, 3])
def test_what_is_no_class_shifts_no_ids(name: str, line: int, tiny_voc: Path) -> None:
    names = ["cat", "dog", "bus"]
    names.insert(line - 1, name)
    (tiny_voc / "classes.txt").write_text("\n".join(names))
    with pytest.raises(DataError) as caught:
        VocDataset(tiny_voc)
    (problem,) = caught.value.problems
    assert problem.where == f"{tiny_voc}/classes.txt:{line}"
    assert name in problem.message.replace('"', "'") and "foreground classes only" in problem.message
    assert "id 0 is background already" in problem.hint


@pytest.mark.parametrize("name", ["background", "_background_", "Void"])
def test_what_is_no_class_is_none_of_a_study(name: str, tiny_voc: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.classes: class is .*id 0 is background already"):
        VocDataset(tiny_voc, ["cat", name])


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("cat\nnan\n", ["classes.txt:2: class is 'nan', which is no name"]),
        ("cat\n-\n", ["classes.txt:2: class is '-', which is no name"]),
        ("'cat'\ndog\n", ["classes.txt:1: class is \"'cat'\", but must be a name without brackets and quotes (write cat)"]),
        ("['cat', 'dog']\n", ["classes.txt:1: is \"['cat', 'dog']\", but must name one class a line"]),
        ("cat,dog,bus\n", ["classes.txt:1: is 'cat,dog,bus', but must name one class a line"]),
        ("1 cat\n2 dog\n", ["classes.txt:1: is '1 cat', but must be a name without its number"]),
        ("0: cat\n1: dog\n", ["classes.txt:1: is '0: cat', but must be a name without its number"]),
        ("Cat\ndog\ncat\n", ["classes.txt:3: class 'cat' differs from 'Cat' in capitals only (line 1: write both"]),
        ("cat\ndog\ncat\n", ["classes.txt:3: class 'cat' occurs twice (line 1)"]),
        ("cat\n\ndog\n", ["classes.txt:2: is blank, but line k names mask id k"]),
        ("\ncat\n", ["classes.txt:1: is blank, but line k names mask id k"]),
        ("# my classes\ncat\n", ["classes.txt:1: is a comment, but line k names mask id k"]),
        ("cat\n_background_\nCat\n", ["classes.txt:2: class is '_background_'", "classes.txt:3: class 'Cat' differs"]),
        ("\n".join(f"c{k}" for k in range(255)), ["classes.txt: names 255 classes, but must name 1 to 254"]),
        ("x\n" * 1_000_000, ["classes.txt: names 1,000,000 classes, but must name 1 to 254"]),
        ("cat\nd\x1bog\n", ["classes.txt:2: class is 'd\\x1bog', which holds control characters"]),
        ("cat\n" + "x" * 5000, ["classes.txt:2: class is 'xxxx", ]),
    ],
)  # fmt: skip
def test_all_problems_with_their_lines(text: str, messages: list[str], tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_class_names(path)
    problems = [str(problem).removeprefix(f"{tmp_path}/") for problem in caught.value.problems]
    assert len(problems) == len(messages), problems
    assert all(found.startswith(message) for found, message in zip(problems, messages, strict=True)), problems
    assert all(len(problem) < 400 for problem in problems)


@pytest.mark.parametrize(
    "content",
    [
        b"cat\r\npotted plant\r\n\r\n",
        b"\xef\xbb\xbfcat \n\tpotted\xc2\xa0plant\n",
        "cat\npotted plant".encode("utf-16"),
        b"cat\rpotted  plant\r",
    ],
)
def test_as_editors_save_it(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_bytes(content)
    assert read_class_names(tmp_path / "classes.txt") == ("cat", "potted plant")


def test_listed_names_may_be_made_of_others(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("pool\ntable\npool table\ndoor, double door\n747 jet\n")
    assert len(read_class_names(tmp_path / "classes.txt")) == 5


@pytest.mark.parametrize(
    ("name", "doubtful"),
    [
        *(
            (name, True)
            for name in ("unknown", "Other", "no object", "N_o-n e of them", "yes", "TRUE", "empty")
        ),
        *((name, True) for name in ("0", "1.0", "-1", "1e5", "2024-01-01", "label", "classes", "inf")),
        *(
            (name, False)
            for name in ("cat", "tv 2", "7up", "🐈", "犬", "normal", "notebook", "bottle", "mouse")
        ),
    ],
)
def test_names_that_more_often_say_that_nothing_is_there(name: str, doubtful: bool) -> None:
    assert is_doubtful(name) is doubtful


def test_several_in_one() -> None:
    known = ["cat", "dog", "traffic light", "traffic", "pool table"]
    assert several_in("Cat traffic light", known) == ["cat", "traffic light"]
    assert several_in("traffic light", known) == []
    assert several_in("cat fish", known) == []
    assert several_in("pool table", known) == []
    assert several_in("", known) == several_in("and", known) == []


def test_nearest_names_don_t_depend_on_capitals(tiny_voc: Path) -> None:
    with pytest.raises(ConfigError, match=r"class is 'CAT'.*did you mean 'cat'\?"):
        VocDataset(tiny_voc, ["CAT"])
    (tiny_voc / "Annotations/x_4.xml").write_text("<a><object><name>BUS</name></object></a>")
    with pytest.raises(DataError, match=r"x_4\.xml: class is 'BUS'.*did you mean 'bus'\?"):
        VocDataset(tiny_voc).labels(["x_4"])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=60))
def test_any_text_gives_names_or_messages(text: str, tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        names = read_class_names(path)
    except DataError:
        names = ()
    assert not class_name_problems(names, "") or not names
    assert not any(is_no_class(name) for name in names)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for number, name in enumerate(names):  # line k names mask id k, whatever else is there
        assert name.replace(" ", "")[:1] in lines[number] or not lines[number].isascii()
