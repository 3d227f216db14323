"""What a study came to, in MLflow: its own run, the experiment's note, the winner's tag and model, each once."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from story import TRIALS, beginning, conclusion, ending, runs, tell

from wsss.tracking.database import artifacts_folder
from wsss.tracking.remote import registry
from wsss.tracking.remote.replay import MlflowReplay

FIRST, SECOND = (trial.id for trial in TRIALS)


def note(uri: str) -> str:
    found = MlflowClient(uri).get_experiment_by_name("made")
    assert found is not None
    return str(found.tags["mlflow.note.content"])


def artifacts(run: Run) -> Path:
    return Path(run.info.artifact_uri.removeprefix("file://"))


def versions(uri: str) -> dict[str, str]:
    """Version → the trial of its run, and which of them is the champion."""
    client = MlflowClient(uri)
    names = {run.info.run_id: name for name, run in runs(uri).items()}
    found = {str(v.version): names[str(v.run_id)] for v in client.search_model_versions("name = 'made'")}
    champion = client.get_model_version_by_alias("made", "champion")
    return {**found, "champion": str(champion.version)}


def test_a_study_has_a_run_of_its_own_with_report_and_comparison(uri: str, tmp_path: Path) -> None:
    found = conclusion(tmp_path, comparison='{"rows": []}')
    assert tell(uri, tmp_path, [*beginning(tmp_path), *ending(tmp_path)], conclude=found) == []
    client, own = MlflowClient(uri), runs(uri)["made"]
    files = {item.path for item in client.list_artifacts(own.info.run_id)}
    assert files == {"compare.json", "config.yaml", "report.html"}
    text = Path(client.download_artifacts(own.info.run_id, "compare.json")).read_text()
    assert text == '{"rows": []}'
    assert (own.info.status, own.info.start_time, own.info.end_time) == ("FINISHED", 1000, 5000)
    assert own.data.metrics == {"best/cams": 0.4} and "mlflow.parentRunId" not in own.data.tags
    assert note(uri) == f"**{FIRST} leads.**"


def test_the_winner_is_registered_once_as_a_folder_that_names_its_loader(uri: str, tmp_path: Path) -> None:
    tell(uri, tmp_path, [*beginning(tmp_path), *ending(tmp_path)], conclude=conclusion(tmp_path))
    tell(uri, tmp_path, [], conclude=conclusion(tmp_path, comparison="other"))  # the same winner
    assert versions(uri) == {"1": FIRST, "champion": "1"}
    client = MlflowClient(uri)
    run_id = runs(uri)[FIRST].info.run_id
    files = {item.path for item in client.list_artifacts(run_id, "model")}
    assert files == {"model/MLmodel", "model/classes.txt", "model/classifier.safetensors"}
    assert "loader_module: no.such" in Path(client.download_artifacts(run_id, "model/MLmodel")).read_text()
    assert not [model for model in client.search_registered_models() if model.name != "made"]


def test_another_winner_is_a_version_of_its_own_and_takes_alias_and_tag(uri: str, tmp_path: Path) -> None:
    tell(uri, tmp_path, [*beginning(tmp_path), *ending(tmp_path)], conclude=conclusion(tmp_path))
    tell(uri, tmp_path, [], conclude=conclusion(tmp_path, trial=1, key="cd" * 32))
    assert versions(uri) == {"1": FIRST, "2": SECOND, "champion": "2"}
    tags = {name: run.data.tags.get("wsss.winner") for name, run in runs(uri).items()}
    assert tags == {"cam": None, "made": None, FIRST: "false", SECOND: "true"}
    assert note(uri) == f"**{SECOND} leads.**"


def test_what_people_have_written_and_chosen_stays(uri: str, tmp_path: Path) -> None:
    tell(uri, tmp_path, [*beginning(tmp_path), *ending(tmp_path)], conclude=conclusion(tmp_path))
    tell(uri, tmp_path, [], conclude=conclusion(tmp_path, trial=1, key="cd" * 32))
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("made")
    assert experiment is not None
    client.set_experiment_tag(experiment.experiment_id, "mlflow.note.content", "mine")
    client.set_registered_model_alias("made", "champion", "1")
    tell(uri, tmp_path, [], conclude=conclusion(tmp_path, trial=1, key="cd" * 32, comparison="new"))
    assert note(uri) == "mine" and versions(uri)["champion"] == "1"


def test_files_that_were_lost_are_sent_again_without_another_version(uri: str, tmp_path: Path) -> None:
    tell(uri, tmp_path, [*beginning(tmp_path), *ending(tmp_path)], conclude=conclusion(tmp_path))
    found = runs(uri)
    folder, page = artifacts(found[FIRST]) / "model", artifacts(found["made"]) / "report.html"
    for path in (page, *folder.iterdir()):
        path.unlink()
    tell(uri, tmp_path, [], conclude=conclusion(tmp_path))
    assert page.is_file() and (folder / "MLmodel").is_file() and (folder / "classifier.safetensors").is_file()
    assert versions(uri) == {"1": FIRST, "champion": "1"}


def test_weights_that_are_gone_cost_the_model_and_nothing_else(uri: str, tmp_path: Path) -> None:
    found = conclusion(tmp_path)
    (tmp_path / "winner.safetensors").unlink()
    (said,) = tell(uri, tmp_path, [*beginning(tmp_path), *ending(tmp_path)], conclude=found)
    assert "gone from the storage" in said
    assert runs(uri)["made"].info.status == "FINISHED"
    assert runs(uri)[FIRST].data.tags["wsss.winner"] == "true"


def test_weights_too_large_for_a_server_are_said_to_be_in_the_storage(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "LARGEST", 6)
    tell(uri, tmp_path, [*beginning(tmp_path), *ending(tmp_path)])
    elsewhere = MlflowReplay(uri, None)  # as if it were a server
    with pytest.raises(ValueError, match=f"predict --model made/{FIRST}"):
        elsewhere.do(conclusion(tmp_path).operation(None))
    MlflowReplay(uri, artifacts_folder(uri)).do(conclusion(tmp_path).operation(None))
    assert versions(uri) == {"1": FIRST, "champion": "1"}


def test_a_study_s_run_in_the_bin_stays_there_until_it_is_asked_for(uri: str, tmp_path: Path) -> None:
    tell(uri, tmp_path, [*beginning(tmp_path), *ending(tmp_path)], conclude=conclusion(tmp_path))
    MlflowClient(uri).delete_run(runs(uri)["made"].info.run_id)
    tell(uri, tmp_path, [], conclude=conclusion(tmp_path, comparison="new"))
    assert "made" not in runs(uri)
    MlflowReplay(uri, artifacts_folder(uri), fill=True).do(conclusion(tmp_path).operation(None))
    assert "made" in runs(uri)
