"""All that people can see of an experiment in MLflow, for comparing two databases."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient

os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"


def snapshot(uri: str, study: str) -> dict[str, Any]:
    """Return the runs of a study by name, with what doesn't depend on when and where they were written."""
    client = MlflowClient(uri, registry_uri=uri)
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None and experiment.lifecycle_stage == "active"
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    names = {run.info.run_id: str(run.info.run_name) for run in found}
    assert len(set(names.values())) == len(found), f"doubled: {sorted(names.values())}"
    registered = [model for model in client.search_registered_models() if model.name == study]
    models = {
        f"{model.name} {version.version}": (
            names[str(version.run_id)],
            Path(str(version.source)).name,
            version.tags["wsss.key"],
        )
        for model in registered
        for version in client.search_model_versions(f"name = '{model.name}'")
    }
    champions = {
        model.name: names[str(client.get_model_version_by_alias(model.name, "champion").run_id)]
        for model in registered
    }
    return {
        "runs": {names[run.info.run_id]: _run(client, run, names) for run in found},
        "models": models,
        "champions": champions,
        "tags": {k: v for k, v in experiment.tags.items() if k != "mlflow.experimentKind"},
    }


def times(uri: str, study: str) -> dict[str, tuple[int, int]]:
    """Return when the runs of a study began and ended, in milliseconds since 1970, by name."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    return {str(run.info.run_name): (run.info.start_time, run.info.end_time or 0) for run in found}


def _run(client: MlflowClient, run: Any, names: dict[str, str]) -> dict[str, Any]:
    run_id = run.info.run_id
    parent = run.data.tags.get("mlflow.parentRunId")
    return {
        "status": run.info.status,
        "parent": names[parent] if parent else "",
        "params": run.data.params,
        "data": sorted((one.dataset.name, one.dataset.digest) for one in run.inputs.dataset_inputs),
        "tags": {k: v for k, v in run.data.tags.items() if not k.startswith("mlflow.")},
        "metrics": {
            key: sorted((point.step, point.value) for point in client.get_metric_history(run_id, key))
            for key in run.data.metrics
        },
        "files": {
            path: hashlib.sha256(Path(client.download_artifacts(run_id, path)).read_bytes()).hexdigest()
            for path in _files(client, run_id, "")
            if Path(path).name not in ("MLmodel", "report.html")  # they say when they were made
        },
    }


def _files(client: MlflowClient, run_id: str, folder: str) -> Iterator[str]:
    for item in client.list_artifacts(run_id, folder or None):
        if item.is_dir:
            yield from _files(client, run_id, item.path)
        else:
            yield item.path
