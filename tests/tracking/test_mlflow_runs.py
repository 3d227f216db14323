"""What people find in MLflow after a study, and that telling it twice changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from story import METRIC, TRIALS, beginning, conclusion, ending, history, runs, tell

from wsss.pipeline.events import (
    StageFinished,
    StudyFinished,
    StudyStarted,
    SweepFinished,
    SweepStarted,
    TrialFinished,
    TrialInfo,
    TrialStarted,
)

FIRST, SECOND = (trial.id for trial in TRIALS)


def test_a_study_can_be_read_back(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/new.db"
    assert tell(uri, tmp_path, [*beginning(tmp_path), *ending(tmp_path)]) == []
    found = runs(uri)
    assert set(found) == {"cam", FIRST, SECOND}
    assert all(run.info.status == "FINISHED" for run in found.values())
    sweep, first = found["cam"], found[FIRST]
    assert first.data.tags["mlflow.parentRunId"] == sweep.info.run_id
    own = {name: value for name, value in first.data.tags.items() if name.startswith("wsss.")}
    assert own == {
        "wsss.id": f"trial:{FIRST}", "wsss.trial": FIRST, "wsss.sweep": "cam", "wsss.arm": "fmix",
        "wsss.seed": "0", "wsss.version": "2", "wsss.kept": "true",
    }  # fmt: skip
    assert first.data.params == {
        "alpha": "0.5", "arm": "fmix", "method": "fmix", "backbone": "resnet50", "seed": "0",
    }  # fmt: skip
    assert history(uri, first, "classifier/loss") == [(1, 0.9), (2, 0.7), (3, 0.6)]
    assert history(uri, first, "classifier/loss/entropy") == [(1, 0.4)]
    assert first.data.metrics["classifier/margin"] == 7, "a number under a name that only a plug-in knows"
    assert "classifier/images" not in first.data.metrics, "how far a stage is, is no result"
    assert first.data.metrics["cams/report/iou/dog"] == 0.75
    assert sweep.data.metrics[f"best/{METRIC}"] == 0.5
    assert sweep.data.tags["wsss.best_trial"] == FIRST
    files = {item.path for item in MlflowClient(uri).list_artifacts(first.info.run_id)}
    assert {"classifier.safetensors", "config.yaml", "cams"} <= files
    assert Path(first.info.artifact_uri.removeprefix("file://")).is_relative_to(tmp_path), (
        "beside the database"
    )


@pytest.mark.parametrize("done", [0.0, 0.35, 0.8])
def test_telling_it_again_after_a_crash_doubles_nothing(uri: str, tmp_path: Path, done: float) -> None:
    """The server had taken everything, but the note of it was lost from some operation on."""
    tell(uri, tmp_path, [*beginning(tmp_path), *ending(tmp_path)], conclude=conclusion(tmp_path))
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
    assert len(MlflowClient(uri).search_model_versions("name = 'made'")) == 1


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


def test_a_failed_trial_that_succeeds_later_has_one_run_and_no_error_left(uri: str, tmp_path: Path) -> None:
    tell(uri, tmp_path, [*beginning(tmp_path), *ending(tmp_path, second="failed")])
    failed = runs(uri)
    resumed = [
        *beginning(tmp_path)[:2],
        TrialStarted(TRIALS[0]), TrialFinished(TRIALS[0], "done", {METRIC: 0.5}, cached=True),
        TrialStarted(TRIALS[1]), StageFinished(SECOND, "classifier", "ab", cached=False),
        TrialFinished(TRIALS[1], "done", {METRIC: 0.8}),
        SweepFinished("cam", (SECOND,)), StudyFinished(failed=0),
    ]  # fmt: skip
    tell(uri, tmp_path, resumed)
    found = runs(uri)
    assert {name: run.info.run_id for name, run in found.items()} == {
        name: run.info.run_id for name, run in failed.items()
    }
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert "wsss.error" not in found[SECOND].data.tags
    assert found["cam"].data.tags["wsss.best_trial"] == SECOND
    assert found["cam"].data.metrics[f"best/{METRIC}"] == 0.8


def test_a_trial_that_was_complete_when_its_driver_died_is_closed_when_found(
    uri: str, tmp_path: Path
) -> None:
    tell(uri, tmp_path, beginning(tmp_path))
    found_again = TrialFinished(TRIALS[0], "done", {METRIC: 0.5}, cached=True)
    tell(uri, tmp_path, [*beginning(tmp_path)[:3], found_again])
    first = runs(uri)[FIRST]
    assert first.info.status == "FINISHED"
    assert history(uri, first, "classifier/loss") == [(1, 0.9), (2, 0.7)]
    assert history(uri, first, METRIC) == [(0, 0.5)]


def test_a_trial_of_a_later_sweep_names_where_it_comes_from(uri: str, tmp_path: Path) -> None:
    later = TrialInfo("masks-fmix-000", "masks", "fmix", 0, {"beta": 4}, upstream=FIRST)
    events = [
        *beginning(tmp_path), *ending(tmp_path)[:-1],
        SweepStarted("masks", "", (later,)), TrialStarted(later), TrialFinished(later, "done"),
        SweepFinished("masks", (later.id,)), StudyFinished(failed=0),
    ]  # fmt: skip
    tell(uri, tmp_path, events)
    found = runs(uri)
    assert found[later.id].data.tags["wsss.upstream"] == FIRST
    assert found[later.id].data.tags["mlflow.parentRunId"] == found["masks"].info.run_id
    assert "method" not in found[later.id].data.params, "it has no classifier"
    assert "wsss.best_trial" not in found["masks"].data.tags, "a sweep without a metric has no best"


def test_a_study_found_finished_leaves_its_runs_as_they_were(uri: str, tmp_path: Path) -> None:
    tell(uri, tmp_path, [*beginning(tmp_path), *ending(tmp_path)])
    before = {name: run.info.end_time for name, run in runs(uri).items()}
    cached = [
        StudyStarted("made", str(tmp_path), "name: made # said anew\n"),
        SweepStarted("cam", METRIC, TRIALS),
        *(event for trial in TRIALS for event in (
            TrialStarted(trial), TrialFinished(trial, "done", {METRIC: 0.5}, cached=True))),
        SweepFinished("cam", (FIRST,)),
        StudyFinished(failed=0),
    ]  # fmt: skip
    tell(uri, tmp_path, cached)
    found = runs(uri)
    assert {name: run.info.end_time for name, run in found.items()} == before
    for run in found.values():
        config = MlflowClient(uri).download_artifacts(run.info.run_id, "config.yaml")
        assert Path(config).read_text() == "name: made\n", "nothing is sent again"


def test_strange_metric_names_and_values_do_not_stop_the_rest(uri: str, tmp_path: Path) -> None:
    odd = TrialFinished(TRIALS[0], "done", {METRIC: 0.5, "iou/potted+plant": 0.1, "broken": float("nan")})
    events = beginning(tmp_path)
    tell(uri, tmp_path, [*events, odd])
    metrics = runs(uri)[FIRST].data.metrics
    assert metrics["iou/potted_plant"] == 0.1
    assert "broken" not in metrics
    assert metrics[METRIC] == 0.5


def test_a_file_that_was_evicted_since_is_passed_over(uri: str, tmp_path: Path) -> None:
    events = [*beginning(tmp_path), *ending(tmp_path)]
    (tmp_path / "overlays.png").unlink()
    tell(uri, tmp_path, events)
    first = runs(uri)[FIRST]
    assert first.info.status == "FINISHED"
    files = {item.path for item in MlflowClient(uri).list_artifacts(first.info.run_id)}
    assert files == {"classifier.safetensors", "config.yaml"}


def test_a_stopped_trial_is_killed_says_why_and_is_not_the_best(uri: str, tmp_path: Path) -> None:
    reason = "cams/select/miou 0.900 is below 0.95"
    stopped = [
        TrialStarted(TRIALS[1]),
        StageFinished(SECOND, "classifier", "ab", cached=False),
        TrialFinished(TRIALS[1], "stopped", {METRIC: 0.9}, reason=reason),
    ]
    events = [*beginning(tmp_path), TrialFinished(TRIALS[0], "done", {METRIC: 0.5}), *stopped]
    tell(uri, tmp_path, [*events, SweepFinished("cam", (FIRST,)), StudyFinished(0)])
    again = [
        TrialStarted(TRIALS[1]),
        TrialFinished(TRIALS[1], "stopped", {METRIC: 0.9}, cached=True, reason=reason),
    ]
    tell(
        uri, tmp_path, [StudyStarted("made", str(tmp_path), ""), SweepStarted("cam", METRIC, TRIALS), *again]
    )
    found = runs(uri)
    assert found[SECOND].info.status == "KILLED" and found[SECOND].data.tags["wsss.stopped"] == reason
    assert len(history(uri, found[SECOND], METRIC)) == 1, "told twice, there once"
    assert found["cam"].data.tags["wsss.best_trial"] == FIRST
