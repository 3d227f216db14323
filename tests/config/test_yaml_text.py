"""YAML as people expect it."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wsss.config.text.yaml_text import dump_yaml, parse_value, parse_yaml
from wsss.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-4", 2e-4),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("2010_005317", "2010_005317"),
        ("010", 10),
        ("12:30", "12:30"),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("null", None),
        ("~", None),
        ("2024-01-02", "2024-01-02"),
        (".inf", float("inf")),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    found = parse_value(text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("text", ["!!python/object/apply:os.system [id]", "!custom 1", "a: b: c", "[1, 2"])
def test_unsafe_or_broken_text_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^x.yaml"):
        parse_yaml(text, "x.yaml")


def test_all_duplicates_are_found_with_their_lines() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml("a: 1\nb: {c: 1,\n  c: 2}\na: 3\n", "x.yaml")
    assert [problem.where for problem in caught.value.problems] == ["x.yaml:3", "x.yaml:4"]


def test_lines_are_those_of_the_keys() -> None:
    document = parse_yaml("a:\n  - b: 1\n    c:\n      d: 2\n", "x")
    assert document.where(("a", 0, "c", "d")) == "x:4"
    assert document.where(("a", 0, "c", "missing", "deep")) == "x:3"


def test_merged_keys_yield_to_those_that_stand_there() -> None:
    text = "a: &a\n  x: 1\n  y: {z: 1}\nb: &b {x: 2, w: 3}\nc:\n  <<: [*a, *b]\n  y: 5\n"
    document = parse_yaml(text, "x")
    assert document.value["c"] == {"x": 1, "y": 5, "w": 3}
    assert document.where(("c", "y")) == "x:7"
    assert document.where(("c", "w")) == "x:4"
    assert document.value["a"] == {"x": 1, "y": {"z": 1}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [1, *a]", "x:1: an alias stands inside what it repeats"),
        ("a: &a\n  <<: *a", "an alias stands inside"),
        ("a: 1\nb:\n  <<: 3", "x:3: `<<` must name a mapping"),
        (
            "\n".join(
                [f"k0: &k0 [{'1, ' * 9}]"] + [f"k{n}: &k{n} [{f'*k{n - 1}, ' * 9}]" for n in range(1, 9)]
            ),
            "more than 30000 values",
        ),
    ],
)
def test_aliases_can_neither_loop_nor_explode(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "x")
    assert message in str(caught.value)


words = st.text(st.characters(min_codepoint=32, max_codepoint=0x24F, exclude_categories=["Cc"]))
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words


@settings(suppress_health_check=[HealthCheck.too_slow])  # others use the cores
@given(st.recursive(scalars, lambda kids: st.lists(kids) | st.dictionaries(words, kids), max_leaves=8))
def test_what_is_dumped_is_read_back(value: object) -> None:
    assert parse_yaml(dump_yaml(value), "x").value == value


def test_what_stands_in_two_places_is_written_twice() -> None:
    shared = [64, 128]
    assert dump_yaml({"a": shared, "b": shared}) == dump_yaml({"a": [64, 128], "b": [64, 128]})
