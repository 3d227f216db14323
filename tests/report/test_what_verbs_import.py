"""Verbs that only read take no second for libraries that only work needs: one process a verb, no stopwatch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from made_up import FAIR, GOOD, POOR, Storage
from tiny_data import tiny_data

ROOT = Path(__file__).parents[2]

HEAVY = "torch torchvision timm matplotlib scipy mlflow ray pandas sklearn optuna pyarrow pydensecrf"
REPORT = f"""
import sys

from wsss.cli import main
try:
    main()
finally:
    print("loaded:", *sorted(set("{HEAVY}".split()) & set(sys.modules)), file=sys.stderr)
"""
CHAIN = (
    f"name: chain\n{tiny_data(8, 4, 'test: {split: val}')}"
    + """\
allow: [unequal_tuning, unequal_epochs: they are there to be planned]
sweeps:
  - name: masks
    arms:
      walk:
        search: {lr: {choice: [0.1, 0.2]}}
        stages:
          - classifier: {method: mixup, backbone: efficientnet_lite0, epochs: 1, lr: $lr}
          - cams
          - affinity_labels
          - affinity: {backbone: mobilenet_v2, weights: none, epochs: 1}
          - pseudo_masks: {walk: {}}
          - segmenter: {backbone: resnet50, weights: none, iterations: 2}
          - segmentations
      exploration:
        stages:
          - classifier: {as: teacher, method: cam, backbone: resnet38, weights: none, epochs: 1}
          - features
          - subcategories
          - classifier: {method: subcategory_exploration, backbone: efficientnet_lite0, epochs: 1}
          - cams
          - pseudo_masks
"""
)


def loaded_by(folder: Path, *words: str, code: int = 0) -> list[str]:
    """Return which of the heavy libraries are loaded when the command line has ended."""
    command = [sys.executable, "-c", REPORT, *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stderr.rpartition("loaded:")[2].split()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A storage with three seeds of two arms, and a study that names most stages."""
    made = Storage(tmp_path / "runs")
    for seed, counts in enumerate(([GOOD, FAIR], [FAIR, FAIR], [FAIR, POOR])):
        for arm in ("baseline", "mixup"):
            key = made.scores(counts if arm == "mixup" else [FAIR, POOR])
            id = f"cam-{arm}-000-s{seed}"
            made.trial(arm, key, id=id, seed=seed, configuration=f"cam-{arm}-000")
    (tmp_path / "chain.yaml").write_text(CHAIN)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("--help", 0),
        ("run --help", 0),
        ("predict --help", 0),
        ("compare made", 0),
        ("compare made --published", 0),
        ("compare made --format json", 0),
        ("compare mode", 2),
        ("plan chain.yaml", 0),
        ("plan chain.yaml -s sweeps.masks.arms.walk.stages.0.classifier.freeze=blocks9", 2),
        ("run chain.yaml -s sweeps.masks.arms.walk.stages.4.pseudo_masks.walk.radios=4", 2),
        ("resume chian", 2),
        ("sync chian", 2),
        ("schema", 0),
        ("storage ls", 0),
        ("storage prune --dry-run", 0),
    ],
)
def test_a_verb_that_reads_loads_nothing_that_works(folder: Path, words: str, code: int) -> None:
    assert loaded_by(folder, *words.split(), code=code) == []
