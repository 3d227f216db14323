"""Who made a run, with which code and on which data: from the ledger, for each trial that of its own run."""

from __future__ import annotations

import getpass
import subprocess
from pathlib import Path
from typing import Any

import pytest
import toy_studies as toy
from mlflow.tracking import MlflowClient
from test_sync import SEARCH, SWEEP, lose, run, sync

from wsss import __version__
from wsss.data.readers.inventory import Held, Inventory
from wsss.pipeline import origin
from wsss.pipeline.events import Origin, TrialInfo
from wsss.tracking.content.about import origin_tags
from wsss.tracking.content.params import LONGEST_VALUE, trial_parameters
from wsss.tracking.translate import trial_yaml


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> Any:
    return toy.install(monkeypatch)


def users(uri: str) -> dict[str, str]:
    found = MlflowClient(uri).search_runs(["1"], "tags.`wsss.trial` != ''")
    return {str(one.info.run_name): one.data.tags["mlflow.user"] for one in found}


def test_each_trial_names_who_began_it_also_after_the_database_was_lost(
    data: Any, tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "ann")
    run(toy.study(tmp_path, SWEEP % "search: {lr: {choice: [0.01]}}", name="toy"), data, uri)
    monkeypatch.setattr(getpass, "getuser", lambda: "bob")
    more = toy.study(
        tmp_path, SWEEP % "search: {lr: {choice: [0.01]}}", "name: masks, stages: [pseudo_masks]"
    )
    run(more, data, uri)
    assert users(uri) == {"cam-cam-000": "ann", "masks-cam-000-000": "bob"}
    lose(uri)
    sync(more, uri)
    assert users(uri) == {"cam-cam-000": "ann", "masks-cam-000-000": "bob"}
    (trial, *_) = MlflowClient(uri).search_runs(["1"], "tags.`wsss.trial` = 'cam-cam-000'")
    assert trial.data.tags["wsss.package"] == __version__
    assert trial.data.tags["mlflow.source.name"] == "wsss run toy"
    assert "arm" in trial.data.tags["mlflow.note.content"].lower()


def test_a_run_that_finds_everything_writes_nothing_of_itself(data: Any, tmp_path: Path, uri: str) -> None:
    study = toy.study(tmp_path, SWEEP % SEARCH)
    run(study, data, uri)
    ledger = tmp_path / "studies/toy/ledger.jsonl"
    assert ledger.read_text().count('"type": "origin"') == 1
    run(study, data, uri)
    assert ledger.read_text().count('"type": "origin"') == 1


def test_the_commit_is_that_of_the_code_and_dirty_when_tracked_files_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "code/wsss"
    (package / "pipeline").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(origin, "__file__", str(package / "pipeline/origin.py"))
    monkeypatch.chdir(tmp_path)
    assert origin.this_origin().commit == "", "no repository at all"

    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        command = ["git", "-C", str(tmp_path / "code"), *who, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    found = origin.this_origin()
    assert (found.commit, found.dirty) == (git("rev-parse", "HEAD"), False)
    (package / "untracked.py").write_text("")
    assert not origin.this_origin().dirty
    (package / "__init__.py").write_text("changed")
    assert origin.this_origin().dirty
    tags = origin_tags("s", origin.this_origin(), "note")
    assert tags["mlflow.source.git.commit"] == found.commit and tags["mlflow.source.git.dirty"] == "true"


@pytest.mark.parametrize("user", ["ann", 3, None])
def test_an_entry_is_read_as_far_as_it_can_be(user: object) -> None:
    found = origin.origin_of({"user": user, "commit": "abc", "dirty": "yes", "more": 1})
    assert found == Origin(user="ann" if user == "ann" else "", commit="abc")


def test_data_are_counted_by_what_they_serve_and_a_changed_mask_changes_one_digest() -> None:
    images = {"a": Held("t", "0" * 12, (0,)), "b": Held("ts", "1" * 12, (1,), "2" * 12)}
    before = origin.data_parts(Inventory(classes=("cat", "dog"), images=images))
    assert [(part.name, part.images) for part in before] == [("train", 2), ("select", 1)]
    moved = {**images, "a": images["a"]._replace(photo="9" * 12)}
    after = origin.data_parts(Inventory(classes=("cat", "dog"), images=moved))
    assert before[1] == after[1] and before[0].digest != after[0].digest
    assert origin.data_parts(None) == ()


def test_long_values_are_cut_and_secrets_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "CANARYcanary42")
    stages = {
        "tool": {
            "command": "x --key CANARYcanary42",
            "env": {"A": "s3://u:CANARY1234@b/c"},
            "long": "y" * 9999,
        }
    }
    params, _ = trial_parameters(stages, {}, {})
    text = trial_yaml("s", TrialInfo("t", "w", "a", 0), stages)
    assert "CANARY" not in str(params) + text
    assert len(params["tool.long"]) == LONGEST_VALUE


def test_a_variable_that_another_arm_searches_is_found_by_what_a_trial_has_there() -> None:
    stages = {"classifier": {"lr": 0.02, "mixing": {"alpha": 0.4}}, "segmenter": {"lr": 0.1, "epochs": 3}}
    places = {
        "rate": ("classifier.lr",),
        "strength": ("other.x", "classifier.mixing.alpha"),
        "gone": ("no.x",),
    }
    params, numbers = trial_parameters(stages, {"epochs": 7}, places)
    assert (params["rate"], params["strength"], params["lr"], params["epochs"]) == ("0.02", "0.4", "0.1", "7")
    assert params["segmenter.epochs"] == "3" and "gone" not in params
    assert numbers == {"params/rate": 0.02, "params/strength": 0.4, "params/lr": 0.1, "params/epochs": 7.0}
