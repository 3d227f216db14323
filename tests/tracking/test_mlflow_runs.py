"""What people find in MLflow after a study, and that telling it twice changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from story import METRIC, TRIALS, beginning, ending, history, runs, tell

from wsss.pipeline.events import StudyFinished, StudyStarted, SweepStarted, TrialFinished, TrialStarted

FIRST, SECOND = (trial.id for trial in TRIALS)


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/mlflow.db"


def test_a_study_can_be_read_back(uri: str, tmp_path: Path) -> None:
    assert tell(uri, tmp_path, [*beginning(tmp_path), *ending(tmp_path)]) == []
    found = runs(uri)
    assert set(found) == {"cam", FIRST, SECOND}
    assert all(run.info.status == "FINISHED" for run in found.values())
    sweep, first = found["cam"], found[FIRST]
    assert first.data.tags["mlflow.parentRunId"] == sweep.info.run_id
    assert first.data.params == {
        "alpha": "0.5", "arm": "fmix", "method": "fmix", "backbone": "resnet50", "seed": "0",
    }  # fmt: skip
    assert history(uri, first, "classifier/loss") == [(1, 0.9), (2, 0.7), (3, 0.6)]
    assert history(uri, first, "classifier/loss/entropy") == [(1, 0.4)]
    assert first.data.metrics["cams/report/iou/dog"] == 0.75
    assert sweep.data.metrics[f"best/{METRIC}"] == 0.5
    assert sweep.data.tags["wsss.best_trial"] == FIRST
    files = {item.path for item in MlflowClient(uri).list_artifacts(first.info.run_id)}
    assert {"classifier.safetensors", "config.yaml", "cams"} <= files
    assert Path(first.info.artifact_uri.removeprefix("file://")).is_relative_to(tmp_path), (
        "beside the database"
    )


def test_the_best_checkpoint_is_registered_as_champion(uri: str, tmp_path: Path) -> None:
    tell(uri, tmp_path, [*beginning(tmp_path), *ending(tmp_path)])
    version = MlflowClient(uri).get_model_version_by_alias("wsss-made", "champion")
    assert version.run_id == runs(uri)[FIRST].info.run_id


@pytest.mark.parametrize("done", [0.0, 0.35, 0.8])
def test_telling_it_again_after_a_crash_doubles_nothing(uri: str, tmp_path: Path, done: float) -> None:
    """The server had taken everything, but the note of it was lost from some operation on."""
    tell(uri, tmp_path, [*beginning(tmp_path), *ending(tmp_path)])
    before = {name: (run.info.run_id, run.data.metrics, run.data.params) for name, run in runs(uri).items()}
    spool = tmp_path / "studies/made/tracking"
    lines = (spool / "operations.jsonl").read_bytes().splitlines(keepends=True)
    (spool / "position").write_text(str(sum(map(len, lines[: int(done * len(lines))]))))
    assert tell(uri, tmp_path, []) == []
    after = runs(uri)
    assert {n: (r.info.run_id, r.data.metrics, r.data.params) for n, r in after.items()} == before
    assert all(run.info.status == "FINISHED" for run in after.values())
    assert history(uri, after[FIRST], "classifier/loss") == [(1, 0.9), (2, 0.7), (3, 0.6)]
    assert history(uri, after[FIRST], METRIC) == [(0, 0.5)]
    assert len(MlflowClient(uri).search_model_versions("name = 'wsss-made'")) == 1


def test_an_interrupted_trial_goes_on_in_its_own_run(uri: str, tmp_path: Path) -> None:
    tell(uri, tmp_path, [*beginning(tmp_path), StudyFinished(failed=0, interrupted=True)])
    killed = runs(uri)
    assert {run.info.status for run in killed.values()} == {"KILLED"}
    resumed = [*beginning(tmp_path)[:3], *ending(tmp_path)]
    tell(uri, tmp_path, resumed)
    found = runs(uri)
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert found[FIRST].info.run_id == killed[FIRST].info.run_id
    assert history(uri, found[FIRST], "classifier/loss") == [(1, 0.9), (2, 0.7), (3, 0.6)]


def test_a_trial_whose_driver_was_killed_is_closed_by_the_next(uri: str, tmp_path: Path) -> None:
    tell(uri, tmp_path, beginning(tmp_path))  # no end of the study: kill -9
    assert runs(uri)[FIRST].info.status == "RUNNING"
    tell(uri, tmp_path, [*beginning(tmp_path)[:3], *ending(tmp_path)])
    assert {run.info.status for run in runs(uri).values()} == {"FINISHED"}


def test_a_failed_trial_is_failed_and_says_why(uri: str, tmp_path: Path) -> None:
    tell(uri, tmp_path, [*beginning(tmp_path), *ending(tmp_path, second="failed")])
    found = runs(uri)
    assert found[SECOND].info.status == "FAILED"
    assert found[SECOND].data.tags["wsss.error"] == "CUDA out of memory"
    assert found[FIRST].info.status == "FINISHED"


def test_a_study_found_finished_leaves_its_runs_as_they_were(uri: str, tmp_path: Path) -> None:
    tell(uri, tmp_path, [*beginning(tmp_path), *ending(tmp_path)])
    before = {name: run.info.end_time for name, run in runs(uri).items() if name != "cam"}
    cached = [
        StudyStarted("made", str(tmp_path), "name: made\n"),
        SweepStarted("cam", METRIC, TRIALS),
        *(event for trial in TRIALS for event in (
            TrialStarted(trial), TrialFinished(trial, "done", {METRIC: 0.5}, cached=True))),
        StudyFinished(failed=0),
    ]  # fmt: skip
    tell(uri, tmp_path, cached)
    assert {name: run.info.end_time for name, run in runs(uri).items() if name != "cam"} == before


def test_strange_metric_names_and_values_do_not_stop_the_rest(uri: str, tmp_path: Path) -> None:
    odd = TrialFinished(TRIALS[0], "done", {METRIC: 0.5, "iou/potted+plant": 0.1, "broken": float("nan")})
    events = beginning(tmp_path)
    tell(uri, tmp_path, [*events, odd])
    metrics = runs(uri)[FIRST].data.metrics
    assert metrics["iou/potted_plant"] == 0.1
    assert "broken" not in metrics
    assert metrics[METRIC] == 0.5


def test_a_checkpoint_that_was_evicted_since_is_passed_over(uri: str, tmp_path: Path) -> None:
    events = [*beginning(tmp_path), *ending(tmp_path)]
    (tmp_path / "overlays.png").unlink()
    tell(uri, tmp_path, events)
    assert runs(uri)[FIRST].info.status == "FINISHED"
