"""From what MLflow has back to what a study made: the trial of a run, the files of a registered model."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from wsss.addresses import shown
from wsss.errors import ConfigError, Problem, TrackingError, first_line, nearest
from wsss.tracking.content import tags as tag
from wsss.tracking.database import is_usable

MODEL = re.compile(r"models:/(?P<name>[^/@:]+)(?:@(?P<alias>[^/@:]+)|/(?P<version>[0-9]+|latest))?")
"""A registered model: by an alias, by the number of a version, or by its name alone: its champion."""
ALIAS = "champion"


def find_run(uri: str, run: str) -> tuple[str, str] | None:
    """Return (study, trial id) of a run that a tracker wrote, None if there is no such run.

    The trial id is empty for the run of a sweep. Raises `TrackingError` when the server doesn't answer.
    """
    if not is_usable(uri):
        return None
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        found = client.get_run(run)
        tags = found.data.tags
        if tag.SWEEP not in tags:
            return None
        study = client.get_experiment(found.info.experiment_id).name
        return study, tags.get(tag.TRIAL, "")
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        message = f"can't be asked for run {run}: {first_line(error)}"
        raise TrackingError(Problem(shown(uri), message)) from error


def find_model(uri: str, reference: str, into: Path, where: str = "--model") -> Path | None:
    """Return a folder with the files of a registered model, None if none has its name.

    Args:
        uri: of the MLflow server or database.
        reference: as `models:/NAME@champion`, `models:/NAME/3` or `models:/NAME`.
        into: a folder that files are downloaded to; those on this machine's disk are left where they are.
        where: what messages call the reference.

    Raises `ConfigError`, with what there is, for an unknown alias or version, and `TrackingError` when the
    server doesn't answer or the files are gone.
    """
    if not is_usable(uri):
        return None
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    parts = MODEL.fullmatch(reference)
    assert parts is not None
    name, alias, number = parts["name"], parts["alias"], parts["version"]
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    try:
        found = client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        message = f"can't be asked for {reference}: {first_line(error)}"
        raise TrackingError(Problem(shown(uri), message)) from error
    versions = sorted(int(one.version) for one in client.search_model_versions(f"name = '{name}'"))
    if number is None:
        number = found.aliases.get(alias or ALIAS)
    elif number == "latest":
        number = str(versions[-1]) if versions else None
    if number is None or int(number) not in versions:
        known = [
            *(f"models:/{name}@{one}" for one in found.aliases),
            *(f"models:/{name}/{v}" for v in versions),
        ]
        raise ConfigError(Problem(where, f"is {reference!r}, which is not there", nearest(reference, known)))
    try:
        from mlflow.artifacts import download_artifacts

        source = str(client.get_model_version_download_uri(name, str(number)))
        if source.startswith("file:"):
            folder = Path(unquote(urlsplit(source).path))
            if folder.is_dir():
                return folder
        return Path(download_artifacts(artifact_uri=source, dst_path=str(into), tracking_uri=uri))
    except (MlflowException, OSError) as error:
        message = f"the files of {reference} can't be had: {first_line(error)}"
        raise TrackingError(Problem(shown(uri), message, "`sync` sends what is missing")) from error


def model_names(uri: str) -> list[str]:
    """Return the names of registered models, none where there is no MLflow to ask."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        if not is_usable(uri):
            return []
        return [one.name for one in MlflowClient(uri, registry_uri=uri).search_registered_models()]
    except (MlflowException, TrackingError):
        return []
