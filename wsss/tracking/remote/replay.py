"""Carrying out spooled operations on an MLflow server, each safe to repeat.

Runs are found again by their `wsss.id` tag before they are created, metrics already there are not
sent twice, and a trial that was finished before is left as it is, unless what it lacks is asked for.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsss.tracking.content import tags as tag
from wsss.tracking.content.params import text_of
from wsss.tracking.remote.concluding import Concluding, study_run
from wsss.tracking.remote.files import Known, RunFiles
from wsss.tracking.remote.quiet import quiet_mlflow
from wsss.tracking.remote.registry import ModelRegistry
from wsss.tracking.spool import Operation
from wsss.tracking.translate import points_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

LARGEST_UPLOAD = 200 * 1024**2
BATCH, LESS = 1000, 100
"""The most metrics, and the most parameters or tags, that MLflow takes at once."""
LONGEST_NAME = 250
"""Characters of a parameter's or metric's name."""
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Makes MLflow's pages open on runs and metrics, not on language models' traces."""
_FORBIDDEN = re.compile(r"[^\w\-. :/]")


def clean(name: str) -> str:
    """Return a metric or parameter name with only the characters that MLflow allows."""
    return _FORBIDDEN.sub("_", name)


def _by_id(run: str) -> str:
    """Return the filter that finds a run by its `wsss.id`."""
    quoted = run.replace("'", "")
    return f"tags.`{tag.ID}` = '{quoted}'"


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
        self._runs: dict[str, Known] = {}
        self.fill = fill
        self.added: Counter[str] = Counter()
        self._files = RunFiles(self._client, self.added)
        registry = ModelRegistry(self._client, self._files, self.added, local=artifacts is not None)
        self._concluding = Concluding(self._client, self._files, registry, self)
        self._do: dict[str, Callable[[Operation], None]] = {
            "experiment": self._open_experiment,
            "run": self._open_run,
            "metrics": self._log_metrics,
            "tags": self._set_tags,
            "text": self._log_text,
            "file": self._log_file,
            "inputs": self._log_inputs,
            "conclude": self._conclude,
            "end": self._end,
        }

    @property
    def experiment(self) -> str:
        """The id of the study's experiment, empty before its first operation."""
        return self._experiment

    def do(self, operation: Operation) -> None:
        """Carry out one operation. Raises what MLflow raises."""
        if operation["op"] != "experiment" and not self._experiment:
            self._open_experiment({"name": operation["study"]})
        run = operation.get("run")
        sealed = run is not None and operation["op"] != "run" and self.known(run).sealed
        if sealed and not operation.get("late"):
            return
        carry_out = self._do.get(operation["op"])
        if carry_out is None:
            return  # of another version's spool
        try:
            carry_out(operation)
        except Exception:
            # It may have been carried out, and only the answer lost.
            self._runs = {} if run is None else {id: known for id, known in self._runs.items() if id != run}
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
                if tag.ID in run.data.tags and not (deleted and run.data.tags[tag.ID] in statuses):
                    statuses[run.data.tags[tag.ID]] = "DELETED" if deleted else run.info.status
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
        found = self._client.search_runs([self._experiment], _by_id(run), max_results=1)
        if found or not self.fill:
            return found[0] if found else None
        binned = self._binned(run)
        if not binned:
            return None
        self._client.restore_run(binned[0].info.run_id)
        self.added["runs"] += 1
        return self._client.get_run(binned[0].info.run_id)

    def _binned(self, run: str) -> list[Run]:
        from mlflow.entities import ViewType

        only = ViewType.DELETED_ONLY
        return list(self._client.search_runs([self._experiment], _by_id(run), only, max_results=1))

    def known(self, run: str) -> Known:
        if run not in self._runs:
            found = self._find(run)
            if found is None:
                raise KeyError(f"the run {run} was deleted from the tracking server")
            self._runs[run] = Known.of(found)
        return self._runs[run]

    def _open_run(self, operation: Operation) -> None:
        from mlflow.entities import Param, RunTag

        run = operation["run"]
        found = self._find(run)
        if found is not None and not self.fill and operation["cached"] and found.info.status == "FINISHED":
            self._runs[run] = replace(Known.of(found), sealed=True)
            return
        tags = {tag.ID: run, **operation["tags"]}
        if operation["parent"]:
            tags["mlflow.parentRunId"] = self.known(operation["parent"]).run_id
        if found is None:
            found = self._client.create_run(
                self._experiment, operation.get("time"), tags=tags, run_name=operation["name"]
            )
            self.added["runs"] += 1
        elif not self.fill and found.info.status != "RUNNING" and not operation["cached"]:
            if tag.ERROR in found.data.tags:
                self._client.delete_tag(found.info.run_id, tag.ERROR)
            self._client.update_run(found.info.run_id, status="RUNNING")
            found = self._client.get_run(found.info.run_id)
        known = self._runs[run] = Known.of(found)
        given = {clean(key)[:LONGEST_NAME]: text_of(value) for key, value in operation["params"].items()}
        params = [Param(key, value) for key, value in given.items() if key not in known.params]
        tags = {**tags, **({tag.VERSION: "2"} if given else {})}
        if tag.NOTE in known.tags:
            tags.pop(tag.NOTE, None)  # people may have written their own
        lacking = [RunTag(key, value) for key, value in tags.items() if known.tags.get(key) != value]
        for start in range(0, max(len(params), len(lacking)), LESS):
            part = slice(start, start + LESS)
            self._client.log_batch(known.run_id, params=params[part], tags=lacking[part])
        known.params |= {param.key for param in params}
        known.tags.update({tag.key: tag.value for tag in lacking})
        self.added["parameters"] += len(params)

    def _log_metrics(self, operation: Operation) -> None:
        self.send_points(self.known(operation["run"]), points_of(operation))

    def send_points(self, known: Known, points: Sequence[tuple[str, float, int, int]]) -> None:
        from mlflow.entities import Metric

        fresh: dict[tuple[str, int], Metric] = {}
        for given, value, step, time in points:
            name = clean(given)
            if math.isfinite(value) and step not in self._steps(known, name):
                fresh[name, step] = Metric(name, value, time, step)
        metrics = list(fresh.values())
        for start in range(0, len(metrics), BATCH):
            self._client.log_batch(known.run_id, metrics=metrics[start : start + BATCH])
        for name, step in fresh:
            known.steps[name].add(step)
        self.added["metrics"] += len(fresh)

    def _steps(self, known: Known, name: str) -> set[int]:
        """Return the steps of a metric that are on the server, which is asked once a metric and run."""
        if name not in known.steps:
            there = self._client.get_metric_history(known.run_id, name) if name in known.metrics else ()
            known.steps[name] = {point.step for point in there}
        return known.steps[name]

    def _set_tags(self, operation: Operation) -> None:
        known = self.known(operation["run"])
        for name, value in operation["values"].items():
            if known.tags.get(name) != value:
                self._client.set_tag(known.run_id, name, value)
                known.tags[name] = value
                self.added["tags"] += 1

    def _log_inputs(self, operation: Operation) -> None:
        self.send_inputs(self.known(operation["run"]), operation["datasets"])

    def send_inputs(self, known: Known, datasets: Sequence[Mapping[str, Any]]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        fresh = [one for one in datasets if (one["name"], one["digest"]) not in known.datasets]
        inputs = [
            DatasetInput(
                Dataset(
                    one["name"], one["digest"], "local", json.dumps({"uri": one["source"]}),
                    profile=json.dumps({"images": one["images"]}),
                ),
                [InputTag("mlflow.data.context", one["name"])],
            )
            for one in fresh
        ]  # fmt: skip
        if inputs:
            self._client.log_inputs(known.run_id, datasets=inputs)
            known.datasets |= {(one["name"], one["digest"]) for one in fresh}
            self.added["data sets"] += len(inputs)

    def _log_text(self, operation: Operation) -> None:
        known, path = self.known(operation["run"]), operation["path"]
        if operation["text"] and not (self.fill and self._files.has(known, path)):
            self._files.send_text(known, operation["text"], path)

    def _log_file(self, operation: Operation) -> None:
        known, path, target = self.known(operation["run"]), Path(operation["file"]), operation["path"]
        if not path.is_file():
            return  # evicted since; its record is still in the store
        size = path.stat().st_size
        if size > LARGEST_UPLOAD:
            if not (self.fill and self._files.has(known, f"{target}.json")):
                self._files.send_address(known, path, target)
        elif not (self.fill and self._files.has(known, target, size)):
            self._files.send(known, path, target)

    def _conclude(self, operation: Operation) -> None:
        self._concluding.conclude(operation, self._experiment)

    def has_concluded(self, operation: Operation) -> bool:
        """Whether a study's own run holds what a `conclude` would bring. Raises what MLflow raises."""
        if not self._experiment:
            self._open_experiment({"name": operation["study"]})
        found = self._find(study_run(operation["study"]))
        return found is not None and self._concluding.is_current(Known.of(found), operation)

    def open_study(self, operation: Operation) -> Known | None:
        """Return what is known of a study's own run, which is made where there is none; None for one in the
        bin."""
        run = study_run(operation["study"])
        if run not in self._runs:
            found = self._find(run)
            if found is None and self._binned(run):
                return None
            if found is None:
                tags = {tag.ID: run, tag.STUDY: operation["study"]}
                found = self._client.create_run(
                    self._experiment, operation["began"], tags=tags, run_name=operation["study"]
                )
                self.added["runs"] += 1
            self._runs[run] = Known.of(found)
        return self._runs[run]

    def _end(self, operation: Operation) -> None:
        known = self.known(operation["run"])
        if known.status != operation["status"]:
            self._client.set_terminated(known.run_id, operation["status"], operation.get("time"))
            known.status = operation["status"]
