"""The published recipes: one study each, and one that holds them side by side, letter by letter the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RECIPES = ("irn", "psa", "sc_cam", "deeplab_v2")


def read(name: str) -> dict:
    return yaml.safe_load((ROOT / "tune_configs" / f"{name}.yaml").read_text())


@pytest.mark.parametrize("name", RECIPES)
def test_the_study_of_all_has_the_recipe_of_each(name: str) -> None:
    own, together = read(name), read("reproduce")
    assert own["sweeps"][0]["arms"] == {name: together["sweeps"][0]["arms"][name]}
    for study in (own, together):
        study["data"].pop("allow", None)
    assert own["data"] == together["data"] and own["seed"] == together["seed"]


def test_the_study_of_all_has_no_other_arm() -> None:
    assert tuple(read("reproduce")["sweeps"][0]["arms"]) == RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_who_published_it_and_with_what_numbers(name: str) -> None:
    text = (ROOT / "tune_configs" / f"{name}.yaml").read_text()
    assert "et al." in text or "Ahn and Kwak" in text
    line = next(line for line in text.splitlines() if line.strip().startswith(f"{name}:"))
    assert "#" in line and any(
        part.strip("(,:;").replace(".", "").isdigit() for part in line.split("#")[1].split()
    )
