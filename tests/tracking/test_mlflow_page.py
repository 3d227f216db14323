"""docs/mlflow.md: its questions, asked as it asks them, and answered from what a study left."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

PAGE = Path(__file__).parents[2] / "docs/mlflow.md"


@pytest.fixture(scope="module")
def answered(finished_study: Path) -> dict[str, Any]:
    """Run every block of Python of the page, one after the other, on a small study; return the variables."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 7
    found: dict[str, Any] = {}
    out = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.chdir(finished_study),
        contextlib.redirect_stdout(out),
    ):
        # MLflow keeps the address in its own module, and in the environment, where other tests would find it.
        patch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
        patch.setenv("MLFLOW_TRACKING_URI", "sqlite:///runs/mlflow.db")
        for block in blocks:
            exec(compile(block.replace("quickstart", "tiny"), str(PAGE), "exec"), found)
    assert os.environ.get("MLFLOW_TRACKING_URI") != "sqlite:///runs/mlflow.db"
    return {**found, "printed": out.getvalue()}


def test_the_best_configuration_of_an_arm_comes_first(answered: dict[str, Any]) -> None:
    trials = answered["trials"]
    assert list(trials["tags.wsss.arm"]) == ["fmix", "fmix"]
    scores = list(trials["metrics.cams/select/miou"])
    assert scores == sorted(scores, reverse=True)
    assert list(trials["tags.wsss.kept"]) == ["true", "false"]


def test_a_filter_on_the_rate_finds_trials_that_used_the_default(answered: dict[str, Any]) -> None:
    """No arm of the study says what `lr` is."""
    arms = sorted(answered["same"]["tags.wsss.arm"])
    assert arms == ["baseline", "baseline", "fmix", "fmix", "fmix"], "trials of both sweeps"
    assert sorted(answered["faster"].run_id) == sorted(answered["same"].run_id)


def test_the_comparison_has_every_arm_with_its_interval(answered: dict[str, Any]) -> None:
    rows = json.loads(answered["text"])["rows"]
    assert sorted(row["arm"] for row in rows) == ["baseline", "fmix"]
    cell = rows[0]["cells"]["pseudo_masks"]
    assert cell["low"] <= cell["miou"] <= cell["high"]
    best = answered["study"].data.metrics
    assert best["best/pseudo_masks_low"] <= best["best/pseudo_masks"] <= best["best/pseudo_masks_high"]
    experiment = mlflow.MlflowClient(answered_uri(answered)).get_experiment_by_name("tiny")
    assert experiment is not None
    note = experiment.tags["mlflow.note.content"]
    assert "| baseline | 1 |" in note and f"{100 * cell['miou']:.1f}" in note


def answered_uri(answered: dict[str, Any]) -> str:
    """The database, by its absolute path: the page's is relative."""
    folder = Path(answered["study"].info.artifact_uri.removeprefix("file://"))
    return f"sqlite:///{folder.parents[3]}/mlflow.db"


def test_nothing_of_it_failed(answered: dict[str, Any]) -> None:
    assert answered["ended"] == []


def test_the_model_leads_to_code_and_images(answered: dict[str, Any], finished_study: Path) -> None:
    run = answered["run"]
    assert run.data.tags["wsss.winner"] == "true"
    assert run.data.tags["wsss.trial"] == answered["champion"].tags["wsss.trial"]
    inventory = json.loads((finished_study / "runs/studies/tiny/data.json").read_text())
    held = [one[0] if isinstance(one, list) else one["parts"] for one in inventory["images"].values()]
    counts = {
        one.dataset.name: json.loads(one.dataset.profile)["images"] for one in run.inputs.dataset_inputs
    }
    assert counts["train"] == sum("t" in parts for parts in held)
    assert counts["report"] == sum("r" in parts for parts in held)
    digests = {one.dataset.digest for one in run.inputs.dataset_inputs}
    assert len(digests) == len(counts) and all(re.fullmatch("[0-9a-f]{32}", one) for one in digests)


def test_the_model_makes_masks_of_any_sizes(answered: dict[str, Any]) -> None:
    mask, masks = answered["mask"], answered["masks"]
    assert (mask.shape, mask.dtype) == ((128, 96), np.uint8)
    assert [one.shape for one in masks] == [(128, 96), (64, 96)]


def test_every_parameter_is_there_under_its_whole_name_and_numbers_as_metrics(
    answered: dict[str, Any],
) -> None:
    trial = next(row for _, row in answered["same"].iterrows() if row["tags.wsss.arm"] == "fmix")
    assert trial["params.classifier.momentum"] == "0.9" and trial["params.cams.scales"] == "[1.0]"
    assert trial["params.alpha"] == trial["params.classifier.mixing.alpha"] == trial["params.mixing.alpha"]
    assert trial["metrics.params/alpha"] == pytest.approx(float(trial["params.alpha"]))
    assert trial["params.classifier.mixing.fixed"] == "null" and trial["params.classifier.amp"] == "true"


def test_published_scores_are_the_last_of_all_metrics(answered: dict[str, Any]) -> None:
    names = sorted(answered["run"].data.metrics)
    published = [name for name in names if "published" in name]
    assert published and names[-len(published) :] == published
