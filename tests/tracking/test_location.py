"""Which MLflow a study talks to, wherever the process goes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from wsss.config import load_study_text
from wsss.pipeline.past.stored_studies import stored_text
from wsss.store.storage import open_storage
from wsss.tracking.location import tracking_uri


def test_a_relative_database_stays_where_it_was_when_the_folder_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    relative, whole = "sqlite:///my/mlflow.db?timeout=5", f"sqlite:///{tmp_path}/my/mlflow.db?timeout=5"
    assert tracking_uri(relative, tmp_path) == whole
    monkeypatch.setenv("MLFLOW_TRACKING_URI", relative)
    assert tracking_uri(None, tmp_path) == whole
    text = f"name: s\ndata: {{dataset: sample}}\ntracking: {{uri: '{relative}'}}\nsweeps: [{{name: cam, stages: [classifier, cams]}}]\n"
    study = load_study_text(text, source="s.yaml", base=tmp_path, storage=str(tmp_path))
    assert yaml.safe_load(stored_text(study, open_storage(tmp_path)))["tracking"]["uri"] == whole
