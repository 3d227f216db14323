"""The study that searches every method, shrunk to the sample set, on a real (one-machine) Ray cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from wsss.config import load_study
from wsss.config.smoke import smoke
from wsss.config.study import DataSpec, Resources, SampleSpec, SplitSpec
from wsss.config.text.yaml_text import dump_yaml

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.timeout(600), pytest.mark.long]


def shrunk(storage: Path) -> str:
    """search.yaml with two samples an arm, one epoch, the sample set, and no sweep but the first."""
    study = smoke(load_study(ROOT / "tune_configs/search.yaml", storage=str(storage)))
    first = study.sweeps[0]
    data = DataSpec(
        dataset="sample",
        sample=SampleSpec(train=30, val=4, size=64),
        holdout=0.2,
        select=SplitSpec(split="train", half="a"),
        report=SplitSpec(split="train", half="b"),
    )
    sweep = first.map_arms(lambda arm: arm.model_copy(update={"samples": 2 if arm.search else None}))
    sweep = sweep.model_copy(update={"resources": Resources()})
    small = study.model_copy(update={"name": "shrunk", "data": data, "sweeps": (sweep,)})
    return dump_yaml(small.to_raw())


def test_it_searches_every_methods_own_variables_and_mlflow_shows_them(tmp_path: Path) -> None:
    (tmp_path / "shrunk.yaml").write_text(shrunk(tmp_path / "runs"))
    done = subprocess.run(
        [sys.executable, str(ROOT / "launch.py"), "run", str(tmp_path / "shrunk.yaml"), "--json",
         "--storage", str(tmp_path / "runs")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    json.loads(done.stdout)
    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    experiment = client.get_experiment_by_name("shrunk")
    assert experiment is not None
    searched: dict[str, dict[str, set[str]]] = {}
    for run in client.search_runs([experiment.experiment_id]):
        if "mlflow.parentRunId" in run.data.tags:
            assert run.info.status == "FINISHED"
            assert "cams/report/miou" in run.data.metrics
            of_arm = searched.setdefault(run.data.params["arm"], {})
            for name, value in run.data.params.items():
                of_arm.setdefault(name, set()).add(value)
    for arm, variables in {
        "mixup": ["alpha"],
        "fmix": ["alpha", "decay"],
        "manifold_mixup": ["alpha"],
        "exploration": ["clusters"],
    }.items():
        assert all(len(searched[arm][name]) == 2 for name in variables), f"{arm}: {searched[arm]}"
    assert {"clusters", "temperature"} <= set(searched["teaching"])
    assert len(searched["teaching"]["temperature"]) == 2, searched["teaching"]
    assert searched["teaching"]["method"] == {"subcategory_teaching"}
