"""MLflow's registry: a study's winner as a model that `mlflow.pyfunc.load_model` loads, registered once.

The model's folder lies among the files of the trial's run. It holds weights, parameters, classes and an
`MLmodel` that names a module of this package as its loader: nothing in it is pickled.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wsss import __version__
from wsss.files import place
from wsss.tracking.content import tags as tag
from wsss.tracking.lookup import ALIAS
from wsss.tracking.remote.files import Known, RunFiles

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

FOLDER = "model"
"""Among the files of the trial's run."""
LARGEST = 500 * 1024**2
"""Bytes of weights that are sent to a server: larger ones time out on their way through it."""


class ModelRegistry:
    """Registers winners. `added` counts new versions, under "models"."""

    def __init__(self, client: MlflowClient, files: RunFiles, added: Counter[str], *, local: bool) -> None:
        self._client = client
        self._files = files
        self._added = added
        self._local = local
        """Whether files are copied to this machine's disk, and not sent to a server."""

    def register(self, name: str, known: Known, winner: Mapping[str, Any]) -> None:
        """Register the network of a trial, whose run is `known`, unless it is there.

        The alias `champion` moves to a new version; where the network was registered before, it stays where
        people have put it. Raises `ValueError` for weights that are too large for the server, and what
        MLflow raises.
        """
        paths = [Path(file) for file in winner["files"].values()]
        if not all(path.is_file() for path in paths):
            raise ValueError(f"the weights of {winner['trial']} are gone from the storage")
        size = sum(path.stat().st_size for path in paths)
        if size > LARGEST and not self._local:
            raise ValueError(
                f"the weights of {winner['trial']} have {size / 1e9:.1f} GB, too many to send to a server: "
                f"`predict --model {name}/{winner['trial']}` reads them from the storage"
            )
        self._create(name, winner["description"])
        version = self._version(name, winner)
        made = version is None
        if made or not self._files.has(known, f"{FOLDER}/MLmodel"):
            self._send_folder(known, winner)
        if version is None:
            source = f"{self._client.get_run(known.run_id).info.artifact_uri}/{FOLDER}"
            tags = {tag.KEY: winner["key"], tag.TRIAL: winner["trial"], tag.PACKAGE: __version__}
            version = self._client.create_model_version(
                name, source, known.run_id, tags=tags, description=winner["description"]
            )
            self._added["models"] += 1
        if made or ALIAS not in self._client.get_registered_model(name).aliases:
            self._client.set_registered_model_alias(name, ALIAS, str(version.version))

    def _create(self, name: str, description: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(name, description=description)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _version(self, name: str, winner: Mapping[str, Any]) -> ModelVersion | None:
        """Return the version that a network was registered as before."""
        wanted = (winner["key"], winner["trial"])
        for found in self._client.search_model_versions(f"name = '{name}'"):
            if (found.tags.get(tag.KEY), found.tags.get(tag.TRIAL)) == wanted:
                return found
        return None

    def _send_folder(self, known: Known, winner: Mapping[str, Any]) -> None:
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made) / FOLDER
            folder.mkdir()
            for name, text in winner["texts"].items():
                (folder / name).write_text(text, encoding="utf-8")
            for name, file in winner["files"].items():
                place(Path(file), folder / name)
            describe_model(known.run_id, winner).save(str(folder / "MLmodel"))
            self._client.log_artifacts(known.run_id, str(folder), FOLDER)
        known.files.pop(FOLDER, None)
        self._added["files"] += len(winner["texts"]) + len(winner["files"]) + 1


def describe_model(run_id: str, winner: Mapping[str, Any]) -> Any:
    """Return what `MLmodel` says: the loader, what comes out, and which settings may be given.

    What goes in is described in words: MLflow's types have no room for photos of several sizes at once.
    """
    from mlflow import pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import DataType, ParamSchema, ParamSpec, Schema, TensorSpec

    signature = ModelSignature(
        outputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1))]),
        params=ParamSchema(
            [ParamSpec("flip", DataType.boolean, False), ParamSpec("crf", DataType.boolean, False)]
        ),
    )
    about = {"trial": winner["trial"], "key": winner["key"], **winner["about"]}
    model = Model(run_id=run_id, artifact_path=FOLDER, signature=signature, metadata=about)
    pyfunc.add_to_model(model, loader_module=winner["loader"])
    return model
