"""Carrying out spooled operations on an MLflow server, each safe to repeat.

Runs are found again by their `wsss.id` tag before they are created, metrics already there are not
sent twice, and a trial that was finished before is left as it is, unless what it lacks is asked for.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from wsss.files import place, sha256_file
from wsss.tracking.spool import Operation
from wsss.tracking.translate import points_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

LARGEST_UPLOAD = 200 * 1024**2
BATCH, LESS = 1000, 100
"""The most metrics, and the most parameters or tags, that MLflow takes at once."""
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
    """What is known of a run on the server: `sealed` runs are finished, and only `late` metrics come to them.

    `steps` holds, per metric that has been looked at or sent, the steps that are there.
    """

    run_id: str
    metrics: set[str] = field(default_factory=set)
    steps: dict[str, set[int]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    params: set[str] = field(default_factory=set)
    files: dict[str, dict[str, int | None]] = field(default_factory=dict)
    sealed: bool = False
    status: str = "RUNNING"


def quiet_mlflow() -> None:
    """Keep MLflow from reporting usage, and from printing tracebacks beside the errors that it raises."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # would send a creation twice
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # A connection that is kept would go on writing to a database that was set aside or deleted.
    os.environ.setdefault("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
    import mlflow  # noqa: F401, because it sets levels itself

    for name in ("mlflow", "alembic", "sqlalchemy"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


class MlflowReplay:
    """Carries out operations through one `MlflowClient`. Importing MLflow takes seconds: build it in
    the background.

    `fill`: add what runs lack, finished ones too, and change nothing else of them; a run that is in the bin
    is taken out again. `added` counts what came to the server.
    """

    def __init__(self, uri: str, artifacts: Path | None, *, fill: bool = False) -> None:
        quiet_mlflow()
        from mlflow import MlflowClient

        self._client: MlflowClient = MlflowClient(tracking_uri=uri, registry_uri=uri)
        self._artifacts = artifacts
        self._experiment = ""
        self._runs: dict[str, _Known] = {}
        self._models: dict[str, bool] = {}
        self.fill = fill
        self.added: Counter[str] = Counter()
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
        sealed = run is not None and operation["op"] != "run" and self._known(run).sealed
        if sealed and not operation.get("late"):
            return
        try:
            self._do[operation["op"]](operation)
        except Exception:
            self._runs.pop(run or "", None)  # it may have been carried out, and only the answer lost
            raise

    def statuses(self, study: str) -> dict[str, str] | None:
        """Return the status of every run of a study by its `wsss.id`, "DELETED" of those in the bin; None
        without an experiment that people can see."""
        from mlflow.entities import ViewType

        found = self._client.get_experiment_by_name(study)
        if found is None or found.lifecycle_stage == "deleted":
            return None
        statuses: dict[str, str] = {}
        token: str | None = None
        while True:
            page = self._client.search_runs(
                [found.experiment_id], run_view_type=ViewType.ALL, page_token=token
            )
            for run in page:
                deleted = run.info.lifecycle_stage == "deleted"
                if ID in run.data.tags and not (deleted and run.data.tags[ID] in statuses):
                    statuses[run.data.tags[ID]] = "DELETED" if deleted else run.info.status
            token = page.token
            if not token:
                return statuses

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
        from mlflow.entities import ViewType

        quoted = run.replace("'", "")
        query = f"tags.`{ID}` = '{quoted}'"
        found = self._client.search_runs([self._experiment], query, max_results=1)
        if found or not self.fill:
            return found[0] if found else None
        binned = self._client.search_runs([self._experiment], query, ViewType.DELETED_ONLY, max_results=1)
        if not binned:
            return None
        self._client.restore_run(binned[0].info.run_id)
        self.added["runs"] += 1
        return self._client.get_run(binned[0].info.run_id)

    def _known(self, run: str) -> _Known:
        if run not in self._runs:
            found = self._find(run)
            if found is None:
                raise KeyError(f"the run {run} was deleted from the tracking server")
            self._runs[run] = _recall(found)
        return self._runs[run]

    def _open_run(self, operation: Operation) -> None:
        from mlflow.entities import Param, RunTag

        run = operation["run"]
        found = self._find(run)
        if found is not None and not self.fill and operation["cached"] and found.info.status == "FINISHED":
            self._runs[run] = replace(_recall(found), sealed=True)
            return
        tags = {ID: run, **operation["tags"]}
        if operation["parent"]:
            tags["mlflow.parentRunId"] = self._known(operation["parent"]).run_id
        if found is None:
            found = self._client.create_run(
                self._experiment, operation.get("time"), tags=tags, run_name=operation["name"]
            )
            self.added["runs"] += 1
        elif not self.fill and found.info.status != "RUNNING" and not operation["cached"]:
            if "wsss.error" in found.data.tags:
                self._client.delete_tag(found.info.run_id, "wsss.error")
            self._client.update_run(found.info.run_id, status="RUNNING")
            found = self._client.get_run(found.info.run_id)
        known = self._runs[run] = _recall(found)
        given = {clean(key): str(value) for key, value in operation["params"].items()}
        params = [Param(key, value) for key, value in given.items() if key not in known.params]
        tags = {**tags, **({"wsss.version": "1"} if given else {})}
        lacking = [RunTag(key, value) for key, value in tags.items() if known.tags.get(key) != value]
        for start in range(0, max(len(params), len(lacking)), LESS):
            part = slice(start, start + LESS)
            self._client.log_batch(known.run_id, params=params[part], tags=lacking[part])
        known.params |= {param.key for param in params}
        known.tags.update({tag.key: tag.value for tag in lacking})
        self.added["parameters"] += len(params)

    def _log_metrics(self, operation: Operation) -> None:
        from mlflow.entities import Metric

        known = self._known(operation["run"])
        fresh: dict[tuple[str, int], Metric] = {}
        for given, value, step, time in points_of(operation):
            name = clean(given)
            if math.isfinite(value) and step not in self._steps(known, name):
                fresh[name, step] = Metric(name, value, time, step)
        metrics = list(fresh.values())
        for start in range(0, len(metrics), BATCH):
            self._client.log_batch(known.run_id, metrics=metrics[start : start + BATCH])
        for name, step in fresh:
            known.steps[name].add(step)
        self.added["metrics"] += len(fresh)

    def _steps(self, known: _Known, name: str) -> set[int]:
        """Return the steps of a metric that are on the server, which is asked once a metric and run."""
        if name not in known.steps:
            there = self._client.get_metric_history(known.run_id, name) if name in known.metrics else ()
            known.steps[name] = {point.step for point in there}
        return known.steps[name]

    def _set_tags(self, operation: Operation) -> None:
        known = self._known(operation["run"])
        for name, value in operation["values"].items():
            if known.tags.get(name) != value:
                self._client.set_tag(known.run_id, name, value)
                known.tags[name] = value
                self.added["tags"] += 1

    def _is_there(self, known: _Known, path: str, size: int | None = None) -> bool:
        """Whether a run that is filled has a file, and as large as it should be."""
        if not self.fill:
            return False
        folder = path.rpartition("/")[0]
        if folder not in known.files:
            listed = self._client.list_artifacts(known.run_id, folder or None)
            known.files[folder] = {item.path: item.file_size for item in listed}
        return path in known.files[folder] and size in (None, known.files[folder][path])

    def _log_text(self, operation: Operation) -> None:
        known, path = self._known(operation["run"]), operation["path"]
        if operation["text"] and not self._is_there(known, path):
            self._client.log_text(known.run_id, operation["text"], path)
            self.added["files"] += 1

    def _log_file(self, operation: Operation) -> None:
        known, path = self._known(operation["run"]), Path(operation["file"])
        if not path.is_file():
            return  # evicted since; its record is still in the store
        target, size = operation["path"], path.stat().st_size
        folder, _, name = target.rpartition("/")
        if size > LARGEST_UPLOAD:
            if self._is_there(known, f"{target}.json"):
                return
            about = {"address": str(path), "bytes": size, "sha256": sha256_file(path)}
            self._client.log_text(known.run_id, json.dumps(about, indent=1), f"{target}.json")
        elif self._is_there(known, target, size):
            return
        elif path.name == name:
            self._client.log_artifact(known.run_id, str(path), folder or None)
        else:
            with tempfile.TemporaryDirectory() as renamed:
                place(path, Path(renamed) / name)
                self._client.log_artifact(known.run_id, str(Path(renamed) / name), folder or None)
        self.added["files"] += 1

    def _register(self, operation: Operation) -> None:
        from mlflow.exceptions import MlflowException

        known, model = self._known(operation["run"]), clean(operation["model"])
        try:
            self._client.create_registered_model(model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        if model not in self._models:  # whether nobody has chosen a champion yet
            self._models[model] = ALIAS not in self._client.get_registered_model(model).aliases
        versions = self._client.search_model_versions(f"name = '{model}'")
        version = next((found.version for found in versions if found.run_id == known.run_id), None)
        made = version is None
        if version is None:
            source = f"{self._client.get_run(known.run_id).info.artifact_uri}/{operation['path']}"
            version = self._client.create_model_version(model, source, known.run_id).version
            self.added["models"] += 1
        if made or not self.fill or self._models[model]:
            self._client.set_registered_model_alias(model, ALIAS, str(version))

    def _end(self, operation: Operation) -> None:
        known = self._known(operation["run"])
        if known.status != operation["status"]:
            self._client.set_terminated(known.run_id, operation["status"], operation.get("time"))
            known.status = operation["status"]


def _recall(found: Run) -> _Known:
    data = found.data
    return _Known(
        found.info.run_id,
        set(data.metrics),
        tags=dict(data.tags),
        params=set(data.params),
        status=found.info.status,
    )
