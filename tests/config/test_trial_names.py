"""Trials are named after sweeps and arms: names of two that meet are refused, and only those."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsss.config import load_study_text
from wsss.data.view import open_data
from wsss.errors import ConfigError
from wsss.pipeline.search.trials import Trial, sweep_trials

HEAD = "data: {dataset: sample, sample: {train: 12, val: 4, size: 64}}\nsweeps:\n"
STAGES = "stages: [{classifier: {backbone: mobilenet_v2, weights: none, epochs: 1}}, cams]"


def first(name: str, *arms: str, seeds: str = "") -> str:
    lines = "".join(f"      {arm}: {{{STAGES}}}\n" for arm in arms)
    return f"  - name: {name}\n{seeds}    arms:\n{lines}"


def then(name: str, *arms: str) -> str:
    if not arms:
        return f"  - {{name: {name}, stages: [pseudo_masks]}}\n"
    lines = "".join(f"      {arm}: {{stages: [pseudo_masks]}}\n" for arm in arms)
    return f"  - name: {name}\n    arms:\n{lines}"


def again(name: str, of: str) -> str:
    return f"  - {{name: {name}, replicate: {of}, seeds: [7, 8]}}\n"


MEET = [
    first("a", "b-c-000", "c") + then("a-b"),
    first("a", "b-c", "c", seeds="    seeds: [7, 8]\n") + again("a-b", "a"),
]
APART = [
    first("a", "b-c", "c") + then("a-b"),
    first("a", "b", "b-000") + then("b") + again("c", "b"),
    first("a", "b-c", "b") + then("a-c"),
    first("a-b", "c") + again("a", "a-b"),
]
OF_BASE = [
    (first("old", "b-c-000", "c"), then("a") + then("a-b")),
    (first("old", "b-c-000", "c") + then("x"), then("a") + then("a-b")),
]
"""A base, and the sweeps of a study that starts from it."""
BESIDE_BASE = [
    (first("old", "b-c", "c"), then("a") + then("a-b")),
    (first("old", "b-c-000", "c"), then("a") + then("d-b") + again("e", "a")),
]


def ids(text: str, folder: Path, upstream: list[Trial] | None = None) -> list[str]:
    """Return the names of all trials; each sweep starts from all of the one before."""
    return [trial.info.id for trials in trials_of(text, folder, upstream).values() for trial in trials]


def trials_of(text: str, folder: Path, upstream: list[Trial] | None = None) -> dict[str, list[Trial]]:
    study = load_study_text(text, source="s.yaml", base=folder, storage=str(folder), known=True)
    data = open_data(study.data, storage=folder)
    by_sweep: dict[str, list[Trial]] = {}
    upstream = upstream or []
    for sweep in study.sweeps:
        upstream = sweep_trials(
            study, sweep, by_sweep[sweep.replicate] if sweep.replicate else upstream, data
        )
        by_sweep[sweep.name] = upstream
    return by_sweep


@pytest.mark.parametrize("sweeps", MEET)
def test_names_that_meet_are_refused(sweeps: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_study_text(HEAD + sweeps, source="s.yaml", base=tmp_path, storage=str(tmp_path))
    assert len(caught.value.problems) == 1
    said = str(caught.value)
    assert "would have the same names, such as a-b-c-000" in said and "`a-b`" in said and "`a`" in said
    found = ids(HEAD + sweeps, tmp_path)
    assert len(set(found)) < len(found), "what it refuses would have happened"


@pytest.mark.parametrize("sweeps", APART)
def test_names_that_only_look_alike_are_not(sweeps: str, tmp_path: Path) -> None:
    load_study_text(HEAD + sweeps, source="s.yaml", base=tmp_path, storage=str(tmp_path))
    found = ids(HEAD + sweeps, tmp_path)
    assert len(set(found)) == len(found)


def on_base(base: str, sweeps: str, folder: Path) -> tuple[str, list[str]]:
    """Return a study that names the arms of its base, and the names of its trials after all of that."""
    old = list(trials_of(HEAD + base, folder).values())[-1]
    arms = list(dict.fromkeys(trial.info.arm for trial in old))
    text = f"base: {{study: old, arms: [{', '.join(arms)}]}}\n{HEAD}{sweeps}"
    return text, ids(text, folder, old)


@pytest.mark.parametrize(("base", "sweeps"), OF_BASE)
def test_names_that_meet_after_the_arms_of_a_base_are_refused(base: str, sweeps: str, tmp_path: Path) -> None:
    text, found = on_base(base, sweeps, tmp_path)
    assert len(set(found)) < len(found), "what it refuses would have happened"
    with pytest.raises(ConfigError) as caught:
        load_study_text(text, source="s.yaml", base=tmp_path, storage=str(tmp_path))
    (problem,) = caught.value.problems
    assert problem.where == "s.yaml:5" and problem.hint == "rename a sweep"
    assert "of arm `c` in sweep `a-b` and of arm `b-c-000` in sweep `a` would have the same names" in str(
        problem
    )


@pytest.mark.parametrize(("base", "sweeps"), BESIDE_BASE)
def test_names_that_only_look_alike_after_a_base_are_not(base: str, sweeps: str, tmp_path: Path) -> None:
    text, found = on_base(base, sweeps, tmp_path)
    load_study_text(text, source="s.yaml", base=tmp_path, storage=str(tmp_path))
    assert len(set(found)) == len(found)
