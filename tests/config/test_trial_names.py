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


def ids(text: str, folder: Path) -> list[str]:
    """Return the names of all trials; each sweep starts from all of the one before."""
    study = load_study_text(text, source="s.yaml", base=folder, storage=str(folder), known=True)
    data = open_data(study.data, storage=folder)
    by_sweep: dict[str, list[Trial]] = {}
    upstream: list[Trial] = []
    for sweep in study.sweeps:
        upstream = sweep_trials(
            study, sweep, by_sweep[sweep.replicate] if sweep.replicate else upstream, data
        )
        by_sweep[sweep.name] = upstream
    return [trial.info.id for trials in by_sweep.values() for trial in trials]


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
