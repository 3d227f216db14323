"""Trials counted from a study's file are those that a plan with data has."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsss.config import load_study, load_study_text
from wsss.data.view import open_data
from wsss.pipeline.forecasts.counts import planned
from wsss.pipeline.forecasts.forecast import forecast
from wsss.store.storage import open_storage

ROOT = Path(__file__).parents[2]
SAMPLE = """\
data:
  dataset: sample
  sample: {train: 12, val: 4, size: 64}
  holdout: 0.2
  select: {split: train, half: a}
  report: {split: train, half: b}
  test: {split: val}
"""
KINDS = {
    "seeds": """
  - name: cam
    seeds: [0, 1]
    keep: 2
    metric: cams/select/miou
    arms:
      plain: {stages: [classifier: {backbone: mobilenet_v2, weights: none}, cams: {}]}
      tried: {search: {lr: {choice: [0.1, 0.2, 0.3]}}, stages: [classifier: {backbone: mobilenet_v2, weights: none, lr: $lr}, cams: {}]}
  - name: masks
    keep: 1
    metric: pseudo_masks/select/miou
    arms:
      few: {search: {b: {choice: [2, 4]}}, stages: [pseudo_masks: {background_exponent: $b}]}
      many: {stages: [pseudo_masks: {background_exponent: 8}]}
  - {name: again, replicate: masks, seeds: [5, 6, 7]}
""",
    "asked": """
  - name: cam
    searcher: optuna
    metric: cams/select/miou
    search: {lr: {uniform: [0.1, 0.2]}}
    samples: 5
    stages: [classifier: {backbone: mobilenet_v2, weights: none, lr: $lr}, cams: {}]
  - name: masks
    stages: [pseudo_masks: {}]
""",
}


def counted_with_data(text: str, folder: Path) -> dict[tuple[str, str], int]:
    study = load_study_text(text, source="s.yaml", base=folder, storage=str(folder / "runs"))
    data = open_data(study.data, storage=folder)
    rows = forecast(study, data, open_storage(study.storage).store)
    return {(row["sweep"], row["arm"]): row["trials"] for row in rows}


@pytest.mark.parametrize("kind", KINDS)
def test_trials_are_counted_without_data_as_with_it(kind: str, tmp_path: Path) -> None:
    text = f"name: counted\n{SAMPLE}allow: [unequal_tuning]\nsweeps:{KINDS[kind]}"
    study = load_study_text(text, source="s.yaml", base=tmp_path)
    expected = counted_with_data(text, tmp_path)
    # A forecast has no row for an arm whose artefacts all stand in other rows.
    found = {(one.sweep, one.arm): one.trials for one in planned(study)}
    assert expected.items() <= found.items() and set(expected) == set(found)


def test_the_quickstart_by_hand() -> None:
    found = [(one.sweep, one.trials) for one in planned(load_study(ROOT / "tune_configs/quickstart.yaml"))]
    assert found == [("cam", 2)] * 4 + [("masks", 1)] * 4 + [("finalists", 3)] * 4


@pytest.mark.parametrize("path", sorted((ROOT / "tune_configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_study_that_comes_along_can_be_counted(path: Path) -> None:
    found = planned(load_study(path))
    assert found and all(one.trials >= one.configurations > 0 for one in found)
