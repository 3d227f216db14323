"""A study's conclusion on an MLflow server: a run of its own, the experiment's note, the winner's model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from wsss.tracking.content import tags as tag
from wsss.tracking.content.conclusion import REPORT
from wsss.tracking.remote.files import Known, RunFiles
from wsss.tracking.remote.registry import ModelRegistry
from wsss.tracking.spool import Operation

if TYPE_CHECKING:
    from mlflow import MlflowClient


def study_run(study: str) -> str:
    """Return the `wsss.id` of a study's own run."""
    return f"study:{study}"


class Runs(Protocol):
    """What finds the runs of an experiment, and adds to them."""

    def known(self, run: str) -> Known:
        """Return what is known of the run with a `wsss.id`. Raises `KeyError` without one."""

    def open_study(self, operation: Operation) -> Known | None:
        """Return a study's own run, made where there is none; None when people have put it into the bin."""

    def send_inputs(self, known: Known, datasets: Sequence[Mapping[str, Any]]) -> None:
        """Send the data sets that a run lacks."""

    def send_points(self, known: Known, points: Sequence[tuple[str, float, int, int]]) -> None:
        """Send the (name, value, step, time) that a run lacks."""


class Concluding:
    """Carries out conclusions.

    Args:
        client: of the server.
        files: sends files.
        registry: registers models.
        runs: finds runs and adds to them.
    """

    def __init__(self, client: MlflowClient, files: RunFiles, registry: ModelRegistry, runs: Runs) -> None:
        self._client = client
        self._files = files
        self._registry = registry
        self._runs = runs

    def conclude(self, operation: Operation, experiment: str) -> None:
        """Bring an experiment up to what its study came to. Raises what MLflow raises."""
        known = self._runs.open_study(operation)
        if known is not None:
            self._fill(known, operation)
        self._note(experiment, operation["note"])
        self._mark_winner(experiment, operation["best"])
        if operation["winner"] is not None:
            self._registry.register(
                operation["study"], self._runs.known(f"trial:{operation['best']}"), operation["winner"]
            )

    def is_current(self, known: Known, operation: Operation) -> bool:
        """Whether a study's run holds what an operation would bring, its files too."""
        paths = {*operation["texts"], REPORT}
        return known.tags.get(tag.SUMMARY) == operation["digest"] and all(
            self._files.has(known, path) for path in paths
        )

    def _fill(self, known: Known, operation: Operation) -> None:
        if not self.is_current(known, operation):
            for path, text in operation["texts"].items():
                self._files.send_text(known, text, path)
            for path, file in operation["files"].items():
                if Path(file).is_file():
                    self._files.send(known, Path(file), path)
            self._runs.send_inputs(known, operation["datasets"])
            step = (operation["time"] - operation["began"]) // 1000  # grows with what is added to a study
            numbers = operation["metrics"].items()
            self._runs.send_points(known, [(name, value, step, operation["time"]) for name, value in numbers])
            self._runs.send_points(
                known,
                [
                    (name, value, (when - operation["began"]) // 1000, when)
                    for when, values in operation["samples"]
                    for name, value in values.items()
                ],
            )
            self._set_tags(known, {**operation["tags"], tag.SUMMARY: operation["digest"]})
        if known.status != operation["status"]:
            self._client.set_terminated(known.run_id, operation["status"], operation["time"])
            known.status = operation["status"]

    def _set_tags(self, known: Known, tags: dict[str, str]) -> None:
        for name, value in tags.items():
            if known.tags.get(name) != value:
                self._client.set_tag(known.run_id, name, value)
                known.tags[name] = value

    def _note(self, experiment: str, note: str) -> None:
        """Write the experiment's note, unless people have written one."""
        tags = self._client.get_experiment(experiment).tags
        there = tags.get(tag.NOTE, "")
        if there == note or (there and tags.get(tag.OWN_NOTE) != _digest(there)):
            return
        self._client.set_experiment_tag(experiment, tag.OWN_NOTE, _digest(note))
        self._client.set_experiment_tag(experiment, tag.NOTE, note)

    def _mark_winner(self, experiment: str, best: str) -> None:
        """Tag the winner, and take the tag from the one before it."""
        query = f"tags.`{tag.WINNER}` = 'true'"
        for found in self._client.search_runs([experiment], query):
            if found.data.tags.get(tag.TRIAL) != best:
                self._client.set_tag(found.info.run_id, tag.WINNER, "false")
        if best:
            self._set_tags(self._runs.known(f"trial:{best}"), {tag.WINNER: "true"})


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
