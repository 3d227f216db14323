"""The schema for editors accepts every shipped study, and refuses what is misspelt."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from command_line import in_process
from jsonschema import Draft202012Validator

from wsss.config.schema import study_schema
from wsss.config.text.yaml_text import parse_yaml

ROOT = Path(__file__).parents[2]
STUDIES = sorted((ROOT / "tune_configs").glob("*.yaml"))


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    found = study_schema()
    Draft202012Validator.check_schema(found)
    return Draft202012Validator(found)


def content(file: Path) -> Any:
    return parse_yaml(file.read_text(), file.name).value


@pytest.mark.parametrize("file", STUDIES, ids=lambda path: path.name)
def test_a_shipped_study_is_valid(file: Path, validator: Draft202012Validator) -> None:
    assert [error.message for error in validator.iter_errors(content(file))] == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("swep",), []),
        (("data", "dataset"), "sampel"),
        (("data", "holdout"), 2),
        (("sweeps", 0, "searcher"), "grids"),
        (("sweeps", 0, "resources"), {"cpus": 1}),
        (("sweeps", 0, "arms", "baseline", "stages", 0), {"clasifier": {}}),
        (("sweeps", 0, "arms", "baseline", "stages", 0), {"classifier": {"epoch": 1}}),
        (("sweeps", 0, "arms", "baseline", "stages", 0), {"classifier": {"mixing": {"kind": "mixupp"}}}),
        (("sweeps", 0, "arms", "baseline", "stages", 0), {"classifier": {"method": "cams"}}),
        (("sweeps", 0, "arms", "baseline", "stages", 0), "scores"),
    ],
)
def test_a_slip_is_underlined(path: tuple[Any, ...], value: Any, validator: Draft202012Validator) -> None:
    study = copy.deepcopy(content(ROOT / "tune_configs" / "quickstart.yaml"))
    place = study
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert not validator.is_valid(study)


@pytest.mark.parametrize("value", [{"classifier": {"lr": "$lr"}}, {"cams": {"as": "x", "from": "y"}}, "cams"])
def test_variables_and_names_are_fine(value: Any, validator: Draft202012Validator) -> None:
    study = {"data": {"dataset": "sample"}, "sweeps": [{"name": "a", "stages": [value]}]}
    assert validator.is_valid(study)


def test_the_verb_prints_it() -> None:
    done = in_process("schema")
    assert done.returncode == 0 and json.loads(done.stdout) == json.loads(json.dumps(study_schema()))
