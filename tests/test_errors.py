"""Messages: short, printable, with the nearest name, whatever is quoted in them."""

from __future__ import annotations

import difflib
import pickle

from hypothesis import given, settings
from hypothesis import strategies as st

from wsss.errors import ConfigError, DataError, Problem, StageError, first_line, nearest, quoted, shortened


def test_a_text_of_many_problems_fits_on_a_screen_and_counts_the_rest() -> None:
    problems = [Problem(f"file:{number}", "x" * 200) for number in range(500)]
    for kind in (ConfigError, DataError):
        error = kind(problems, title="many", more=7)
        text = str(error)
        shown = text.count("file:")
        assert len(text.encode()) <= 4096 and shown > 5
        assert text.endswith(f"… and {500 - shown + 7} more problems")
        assert len(error.problems) == 500
        again = pickle.loads(pickle.dumps(error))
        assert str(again) == text and again.more == 7


def test_a_worker_s_traceback_is_not_cut() -> None:
    text = "\n".join(f"line {number}" for number in range(300))
    assert str(StageError(text)) == text


def test_control_characters_and_huge_values_are_not_repeated() -> None:
    text = str(Problem("a\x1b[31m.yaml", "b\x9d\ud800" + "c" * 100_000, "\u202egnp"))
    assert text.isprintable() and len(text) < 2000
    assert text.startswith("a\\x1b[31m.yaml: b\\x9d\\ud800c")
    assert quoted("a\x1b\n") == "'a\\x1b\\n'"
    assert quoted("cat") == "'cat'" and quoted([1, 2.5, None]) == "[1, 2.5, None]"
    for value in (
        "x" * 10**6,
        list(range(10**5)),
        {n: n for n in range(1000)},
        10**5000,
        -(10**5000),
        [[[[[[]]]]]],
    ):
        assert len(quoted(value)) <= 82
    assert shortened("a" * 100, 30) == "a" * 20 + "…" + "a" * 10


words = st.text(st.sampled_from("abcdef_"), max_size=12)


@given(words, st.lists(words, max_size=12))
@settings(deadline=None, derandomize=True)
def test_the_nearest_name_is_the_one_that_difflib_finds(word: str, choices: list[str]) -> None:
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    found = nearest(word, choices)
    assert found.startswith("did you mean") == bool(close and close[0])
    if close and close[0]:
        assert found == f"did you mean {close[0]!r}?"


def test_an_error_without_a_text_is_called_by_its_kind() -> None:
    assert first_line(ValueError("one\ntwo")) == "one"
    assert first_line(RuntimeError()) == "RuntimeError"


def test_many_and_long_names_are_listed_in_part() -> None:
    found = nearest("zebra", [f"name{number}" for number in range(10_000)])
    assert found.startswith("choose from name0, ") and found.endswith("more)") and len(found) < 400
    assert nearest("x" * 10**6, ["y" * 10**6, 3, None]).startswith("choose from")
    assert nearest([1], ["a", "b"]) == "choose from a, b" and nearest("a", []) == ""


def test_a_letter_that_only_looks_the_same_is_named() -> None:
    assert nearest("nаme", ["name"]) == "did you mean 'name'? 'а' is U+0430"
    assert nearest("größe", ["größen"]) == "did you mean 'größen'?"


def test_a_file_whose_name_has_ends_of_lines_stands_in_one_line() -> None:
    told = str(DataError([Problem("/p/a\nerror: b\t.jpg", "is broken"), Problem("c", "is, too")]))
    assert told == "/p/a\\nerror: b\\t.jpg: is broken\nc: is, too"
