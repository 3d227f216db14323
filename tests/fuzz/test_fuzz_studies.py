"""Study files and `-s` from strangers: refused in a few words, or accepted and written back the same."""

from __future__ import annotations

import copy
import functools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from bounds import examples, survives
from hostile import VALUES, json_like, texts
from hypothesis import example, given
from hypothesis import strategies as st

from wsss.config import Study, dump_study, load_study, load_study_text
from wsss.config import smoke as shrink
from wsss.config.text.yaml_text import parse_yaml

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "tune_configs").glob("*.yaml"))
PLACEHOLDER = "HOSTILE-VALUE"
Place = tuple[str | int, ...]


@functools.cache
def document(file: Path) -> Any:
    return parse_yaml(file.read_text(), file.name).value


def places(value: Any, path: Place = ()) -> Iterator[Place]:
    """Every place in a document, the document itself included."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        yield from places(child, (*path, key))


def with_hostile(file: Path, place: Place, text: str) -> str:
    """The study's text with YAML of a stranger's at a place."""
    value = copy.deepcopy(document(file))
    if not place:
        return text
    parent = functools.reduce(lambda inner, key: inner[key], place[:-1], value)
    parent[place[-1]] = PLACEHOLDER
    return yaml.safe_dump(value, width=10**6, default_flow_style=True, sort_keys=False).replace(
        PLACEHOLDER, text
    )


def read(text: str, *overrides: str, name: str | None = None, storage: str | None = None) -> Study:
    return load_study_text(
        text, source="s.yaml", base=ROOT, overrides=overrides, name=name, storage=storage, most=10_000
    )


def check(text: str, *overrides: str, name: str | None = None, storage: str | None = None) -> None:
    study = survives(lambda: read(text, *overrides, name=name, storage=storage))
    if study is not None:
        again = survives(lambda: read(dump_study(study), storage=str(study.storage)))
        assert again == study
        survives(lambda: shrink(study))


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_hostile_values_in_every_shipped_study(file: Path) -> None:
    """Every hostile value somewhere, elsewhere in each file."""
    rng = random.Random(file.name)
    found = list(places(document(file)))
    for value in VALUES.values():
        check(with_hostile(file, rng.choice(found), value))


@pytest.mark.parametrize("name", VALUES)
def test_every_hostile_value_all_over_one_study(name: str) -> None:
    file = ROOT / "tune_configs/quickstart.yaml"
    rng = random.Random(name)
    for place in rng.sample(list(places(document(file))), 15):
        check(with_hostile(file, place, VALUES[name]))


@given(st.sampled_from(FILES), st.data())
@examples(200)
def test_anything_in_place_of_a_value(file: Path, data: st.DataObject) -> None:
    value = copy.deepcopy(document(file))
    place = data.draw(st.sampled_from(list(places(value))[1:]))
    parent = functools.reduce(lambda inner, key: inner[key], place[:-1], value)
    parent[place[-1]] = data.draw(json_like)
    check(yaml.safe_dump(value, allow_unicode=True))


@given(st.sampled_from(FILES), st.data())
@examples(150)
def test_lines_lost_doubled_and_swapped(file: Path, data: st.DataObject) -> None:
    lines = file.read_text().splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        one, other = (data.draw(st.integers(0, len(lines) - 1)) for _ in range(2))
        how = data.draw(st.sampled_from(("lose", "double", "swap", "indent", "break")))
        if how == "lose" and len(lines) > 1:
            del lines[one]
        elif how == "double":
            lines.insert(other, lines[one])
        elif how == "swap":
            lines[one], lines[other] = lines[other], lines[one]
        elif how == "indent":
            lines[one] = "  " + lines[one]
        else:
            lines[one] = lines[one][: len(lines[one]) // 2]
        if not lines:
            break
    check("\n".join(lines))


@given(texts)
@example("\0")
@example("\ufeff")
@example("- " * 5000)
@example("? " * 5000)
@example("a: &a {<<: *a}")
@example("a: &a [*a]")
@example("&a a: *a")
@example("k0: &k0 [1]\n" + "".join(f"k{n}: &k{n} [*k{n - 1}]\n" for n in range(1, 300)))
@example("k0: &k0 {a: 1}\n" + "".join(f"k{n}: &k{n} {{<<: [*k{n - 1}, *k{n - 1}]}}\n" for n in range(1, 40)))
@example("".join(f"key{n}: 1\n" for n in range(90_000)))
@example("".join(f"sweep{'s' * 50}{n}: 1\n" for n in range(9000)))
@example("sweeps: [" + "{name: a}, " * 3000 + "]")
@example("%YAML 9.9\n---\na: 1\n--- 2")
@examples(200)
def test_any_text(text: str) -> None:
    check(text)


@given(st.binary(max_size=200) | st.sampled_from(["utf-16", "utf-32", "utf-8-sig"]))
@examples(100)
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes | str) -> None:
    path = tmp_path_factory.mktemp("bytes") / "study.yaml"
    path.write_bytes(FILES[0].read_text().encode(content) if isinstance(content, str) else content)
    survives(lambda: load_study(path))


addresses = st.lists(
    st.sampled_from(
        ["sweeps", "cam", "masks", "*", "arms", "fmix", "baseline", "stages", "classifier", "cams"]
    )
    | st.sampled_from(
        ["search", "alpha", "resources", "gpu", "data", "name", "seed", "0", "", "as", "storage"]
    )
    | texts,
    min_size=1,
    max_size=7,
).map(".".join)


@given(st.lists(st.tuples(addresses, st.sampled_from(list(VALUES.values())) | texts), min_size=1, max_size=3))
@examples(250)
def test_any_override(pairs: list[tuple[str, str]]) -> None:
    file = ROOT / "tune_configs/quickstart.yaml"
    check(file.read_text(), *(f"{address}={value}" for address, value in pairs))


@given(st.data())
@examples(100)
def test_overrides_of_a_study_that_is_none(data: st.DataObject) -> None:
    file = ROOT / "tune_configs/quickstart.yaml"
    place = data.draw(st.sampled_from(list(places(document(file)))))
    text = with_hostile(file, place, data.draw(st.sampled_from(["[1]", "1", "zebra", "{a: 1}", "null"])))
    check(text, f"{data.draw(addresses)}={data.draw(st.sampled_from(['1', '[1]', '{a: 1}']))}")


@given(texts, texts)
@example("a: b", "~no-such-user-at-all/x")
@example("x" * 5000, "y" * 5000)
@example("a\0b", "a\0b")
@example("1e3", "file:///a%00b")
@example("null", "s3://[")
@examples(100)
def test_any_name_and_storage(name: str, storage: str) -> None:
    check((ROOT / "tune_configs/quickstart.yaml").read_text(), name=name, storage=storage)
