"""Files of runs on an MLflow server: sent once, under the names that people see."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from wsss.files import place, sha256_file

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


@dataclass
class Known:
    """What is known of a run on the server: a `sealed` one is finished, and only `late` operations change it.

    `steps` holds, per metric that has been looked at or sent, the steps that are there.
    """

    run_id: str
    metrics: set[str] = field(default_factory=set)
    steps: dict[str, set[int]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    params: set[str] = field(default_factory=set)
    files: dict[str, dict[str, int | None]] = field(default_factory=dict)
    datasets: set[tuple[str, str]] = field(default_factory=set)
    """(name, digest) of the data sets that it has as inputs."""
    sealed: bool = False
    status: str = "RUNNING"

    @classmethod
    def of(cls, found: Run) -> Known:
        data, inputs = found.data, found.inputs.dataset_inputs if found.inputs else ()
        return cls(
            found.info.run_id,
            set(data.metrics),
            tags=dict(data.tags),
            params=set(data.params),
            datasets={(one.dataset.name, one.dataset.digest) for one in inputs},
            status=found.info.status,
        )


class RunFiles:
    """Sends files to runs. `added` counts those sent, under "files"."""

    def __init__(self, client: MlflowClient, added: Counter[str]) -> None:
        self._client = client
        self._added = added

    def has(self, known: Known, path: str, size: int | None = None) -> bool:
        """Whether a run has a file, and as large as it should be."""
        folder = path.rpartition("/")[0]
        if folder not in known.files:
            listed = self._client.list_artifacts(known.run_id, folder or None)
            known.files[folder] = {item.path: item.file_size for item in listed}
        return path in known.files[folder] and size in (None, known.files[folder][path])

    def send_text(self, known: Known, text: str, path: str) -> None:
        self._client.log_text(known.run_id, text, path)
        self._sent(known, path)

    def send(self, known: Known, file: Path, target: str) -> None:
        """Send a file under another name than its own, perhaps in a folder."""
        folder, _, name = target.rpartition("/")
        if file.name == name:
            self._client.log_artifact(known.run_id, str(file), folder or None)
        else:
            with tempfile.TemporaryDirectory() as renamed:
                place(file, Path(renamed) / name)
                self._client.log_artifact(known.run_id, str(Path(renamed) / name), folder or None)
        self._sent(known, target)

    def send_address(self, known: Known, file: Path, target: str) -> None:
        """Say, in place of a file that is too large, where it lies and what its digest is."""
        about = {"address": str(file), "bytes": file.stat().st_size, "sha256": sha256_file(file)}
        self.send_text(known, json.dumps(about, indent=1), f"{target}.json")

    def _sent(self, known: Known, path: str) -> None:
        known.files.pop(path.rpartition("/")[0], None)
        self._added["files"] += 1
