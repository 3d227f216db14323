"""A package outside of ours adds a regulariser, a stage and a backbone with a head of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process saw that has the toy package on its path, from plan to table."""
    storage = tmp_path_factory.mktemp("toy")
    done = subprocess.run(
        [sys.executable, str(HERE / "with_plugins.py"), str(storage)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "storage": storage / "runs"}


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("regulariser", "unknown key `flatnes` (did you mean 'flatness'?)"),
        ("group", "unknown key `powr` (did you mean 'power'?)"),
        ("stage", "there is no stage 'toy_mask' (did you mean 'toy_masks'?)"),
        ("params", "unknown key `round` (did you mean 'rounds'?)"),
        ("backbone", "there is no backbone 'toy_atention' (did you mean 'toy_attention'?)"),
        ("head", "there is no head 'class_token' (did you mean 'class_tokens'?)"),
        ("metric", "did you mean 'toy_masks/select/miou'?"),
    ],
)
def test_what_is_misspelt_is_named(seen: dict[str, Any], what: str, expected: str) -> None:
    code, text = seen[f"misspelt {what}"]
    assert code == 2 and expected in text


def test_the_study_runs_to_its_table_and_as_a_smoke_test(seen: dict[str, Any]) -> None:
    for name in ("smoke", "run", "table"):
        code, _, error = seen[name]
        assert code == 0, error
    assert "toy mask" in seen["table"][1]
    code, text, _ = seen["compare"]
    comparison = json.loads(text)
    assert code == 0 and comparison["steps"] == ["cams", "toy_masks"]
    cells = [row["cells"] for row in comparison["rows"]]
    assert cells and all(set(cell) == {"cams", "toy_masks"} for cell in cells)


def records(storage: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in (storage / "store").glob("*/*/artefact.json")]


def test_smoke_makes_the_stage_as_small_as_it_says_itself(seen: dict[str, Any]) -> None:
    rounds = [r["params"]["rounds"] for r in records(seen["storage"]) if r["stage"] == "toy_masks"]
    assert set(rounds) == {1, 2}


def test_the_plan_knows_its_work(seen: dict[str, Any]) -> None:
    code, text, error = seen["plan"]
    assert code == 0, error
    rows = json.loads(text)["sweeps"]
    assert {row["stage"] for row in rows} >= {"classifier", "cams", "toy_masks", "toy_masks.scores"}


def test_mlflow_has_its_parameters_and_metrics(seen: dict[str, Any]) -> None:
    client = MlflowClient(f"sqlite:///{seen['storage']}/mlflow.db")
    experiment = client.get_experiment_by_name("toy")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    metrics = {name for run in runs for name in run.data.metrics}
    assert {"toy_masks/select/miou", "toy_masks/report/miou"} <= metrics
    assert any(name.endswith("loss/flatness") for name in metrics)
    assert any(name.endswith("gradient/flatness") for name in metrics)
    assert {"toy_masks/loss", "toy_masks/flat_masks"} <= metrics, "names that no file of ours knows, too"
    assert not any(name.endswith("/images") for name in metrics)
    assert {run.data.params.get("w") for run in runs} >= {"0.1", "0.2"}


def test_the_regulariser_is_in_keys_while_it_is_on_and_in_none_while_it_is_off(seen: dict[str, Any]) -> None:
    golden = json.loads((ROOT / "tests/pipeline/golden_keys.json").read_text())
    assert seen["keys"] == {name: golden[name] for name in seen["keys"]}
    classifiers = [
        r["params"]
        for r in records(seen["storage"])
        if r["stage"] == "classifier" and r["params"]["backbone"] == "toy_attention"
    ]
    assert sorted(params["flatness"]["weight"] for params in classifiers) == [0.1, 0.2]


def test_nothing_of_ours_knows_of_it() -> None:
    names = ("flatness", "toy_masks", "toy_attention", "class_tokens")
    for path in (ROOT / "wsss").rglob("*.py"):
        text = path.read_text()
        assert not any(name in text for name in names), path
