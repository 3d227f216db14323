"""Carrying out spooled operations on an MLflow server, each safe to repeat.

Runs are found again by their `wsss.id` tag before they are created, metrics already there are not
sent twice, and a trial that was finished before is left as it is.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsss.files import place, sha256_file
from wsss.tracking.spool import Operation

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

LARGEST_UPLOAD = 200 * 1024**2
BATCH = 1000
ID = "wsss.id"
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Makes MLflow's pages open on runs and metrics, not on language models' traces."""
ALIAS = "champion"
_FORBIDDEN = re.compile(r"[^\w\-. :/]")


def clean(name: str) -> str:
    """Return a metric or parameter name with only the characters that MLflow allows."""
    return _FORBIDDEN.sub("_", name)


@dataclass
class _Known:
    """What is known of a run on the server: `sealed` runs are finished and not touched again."""

    run_id: str
    sent: set[tuple[str, int]] = field(default_factory=set)
    sealed: bool = False
    status: str = "RUNNING"


def quiet_mlflow() -> None:
    """Keep MLflow from reporting usage, and from printing tracebacks beside the errors that it raises."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # would send a creation twice
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    import mlflow  # noqa: F401, because it sets levels itself

    for name in ("mlflow", "alembic", "sqlalchemy"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


class MlflowReplay:
    """Carries out operations through one `MlflowClient`. Importing MLflow takes seconds: build it in
    the background."""

    def __init__(self, uri: str, artifacts: Path | None) -> None:
        quiet_mlflow()
        from mlflow import MlflowClient

        self._client: MlflowClient = MlflowClient(tracking_uri=uri, registry_uri=uri)
        self._artifacts = artifacts
        self._experiment = ""
        self._runs: dict[str, _Known] = {}
        self._do: dict[str, Callable[[Operation], None]] = {
            "experiment": self._open_experiment,
            "run": self._open_run,
            "metrics": self._log_metrics,
            "tags": self._set_tags,
            "text": self._log_text,
            "file": self._log_file,
            "register": self._register,
            "end": self._end,
        }

    def do(self, operation: Operation) -> None:
        """Carry out one operation. Raises what MLflow raises."""
        if operation["op"] != "experiment" and not self._experiment:
            self._open_experiment({"name": operation["study"]})
        run = operation.get("run")
        if run is not None and operation["op"] != "run" and self._known(run).sealed:
            return
        try:
            self._do[operation["op"]](operation)
        except Exception:
            self._runs.pop(run or "", None)  # it may have been carried out, and only the answer lost
            raise

    def _open_experiment(self, operation: Operation) -> None:
        name = operation["name"]
        found = self._client.get_experiment_by_name(name)
        if found is None:
            location = None if self._artifacts is None else (self._artifacts / name).absolute().as_uri()
            self._experiment = self._client.create_experiment(name, location, KIND)
            return
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        self._experiment = found.experiment_id

    def _find(self, run: str) -> Run | None:
        quoted = run.replace("'", "")
        found = self._client.search_runs([self._experiment], f"tags.`{ID}` = '{quoted}'", max_results=1)
        return found[0] if found else None

    def _known(self, run: str) -> _Known:
        if run not in self._runs:
            found = self._find(run)
            if found is None:
                raise KeyError(f"the run {run} was deleted from the tracking server")
            self._runs[run] = self._recall(found)
        return self._runs[run]

    def _recall(self, found: Run) -> _Known:
        run_id = found.info.run_id
        sent = {
            (key, point.step)
            for key in found.data.metrics
            for point in self._client.get_metric_history(run_id, key)
        }
        return _Known(run_id, sent, status=found.info.status)

    def _open_run(self, operation: Operation) -> None:
        from mlflow.entities import Param, RunTag

        run = operation["run"]
        found = self._find(run)
        if found is not None and operation["cached"] and found.info.status == "FINISHED":
            self._runs[run] = _Known(found.info.run_id, sealed=True, status="FINISHED")
            return
        tags = {ID: run, **operation["tags"]}
        if operation["parent"]:
            tags["mlflow.parentRunId"] = self._known(operation["parent"]).run_id
        if found is None:
            created = self._client.create_run(self._experiment, tags=tags, run_name=operation["name"])
            known = self._runs[run] = _Known(created.info.run_id)
        else:
            known = self._runs[run] = self._recall(found)
            if known.status != "RUNNING" and not operation["cached"]:
                if "wsss.error" in found.data.tags:
                    self._client.delete_tag(known.run_id, "wsss.error")
                self._client.update_run(known.run_id, status="RUNNING")
                known.status = "RUNNING"
        params = [Param(clean(key), str(value)) for key, value in operation["params"].items()]
        if params:
            self._client.log_batch(known.run_id, params=params, tags=[RunTag("wsss.version", "1")])

    def _log_metrics(self, operation: Operation) -> None:
        from mlflow.entities import Metric

        known = self._known(operation["run"])
        step = int(operation["step"])
        values = {clean(name): float(value) for name, value in operation["values"].items()}
        fresh = {
            name: value
            for name, value in values.items()
            if math.isfinite(value) and (name, step) not in known.sent
        }
        metrics = [Metric(name, value, operation["time"], step) for name, value in fresh.items()]
        for start in range(0, len(metrics), BATCH):
            self._client.log_batch(known.run_id, metrics=metrics[start : start + BATCH])
        known.sent |= {(name, step) for name in fresh}

    def _set_tags(self, operation: Operation) -> None:
        for name, value in operation["values"].items():
            self._client.set_tag(self._known(operation["run"]).run_id, name, value)

    def _log_text(self, operation: Operation) -> None:
        self._client.log_text(self._known(operation["run"]).run_id, operation["text"], operation["path"])

    def _log_file(self, operation: Operation) -> None:
        run_id, path = self._known(operation["run"]).run_id, Path(operation["file"])
        if not path.is_file():
            return  # evicted since; its record is still in the store
        folder, _, name = operation["path"].rpartition("/")
        if path.stat().st_size > LARGEST_UPLOAD:
            about = {"address": str(path), "bytes": path.stat().st_size, "sha256": sha256_file(path)}
            self._client.log_text(run_id, json.dumps(about, indent=1), f"{operation['path']}.json")
        elif path.name == name:
            self._client.log_artifact(run_id, str(path), folder or None)
        else:
            with tempfile.TemporaryDirectory() as renamed:
                place(path, Path(renamed) / name)
                self._client.log_artifact(run_id, str(Path(renamed) / name), folder or None)

    def _register(self, operation: Operation) -> None:
        from mlflow.exceptions import MlflowException

        known, model = self._known(operation["run"]), clean(operation["model"])
        try:
            self._client.create_registered_model(model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        versions = self._client.search_model_versions(f"name = '{model}'")
        version = next((found.version for found in versions if found.run_id == known.run_id), None)
        if version is None:
            source = f"{self._client.get_run(known.run_id).info.artifact_uri}/{operation['path']}"
            version = self._client.create_model_version(model, source, known.run_id).version
        self._client.set_registered_model_alias(model, ALIAS, str(version))

    def _end(self, operation: Operation) -> None:
        known = self._known(operation["run"])
        if known.status != operation["status"]:
            self._client.set_terminated(known.run_id, operation["status"])
            known.status = operation["status"]


def is_permanent(error: BaseException) -> bool:
    """Tell whether trying again can't help: the server understood and refused.

    MLflow calls BAD_REQUEST what something on the way to the server answered: that may pass.
    """
    code: Any = getattr(error, "error_code", "")
    refused = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS")
    too_large = getattr(getattr(error, "response", None), "status_code", None) == 413
    return code in refused or too_large or isinstance(error, KeyError | TypeError | ValueError)
