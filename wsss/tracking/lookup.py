"""From the id of an MLflow run back to the trial that it tells of."""

from __future__ import annotations

from wsss.addresses import scrub, shown
from wsss.errors import Problem, TrackingError
from wsss.tracking.database import is_usable


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
        if "wsss.sweep" not in tags:
            return None
        study = client.get_experiment(found.info.experiment_id).name
        return study, tags.get("wsss.trial", "")
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        reason = scrub((str(error).splitlines() or [type(error).__name__])[0])[:200]
        raise TrackingError(Problem(shown(uri), f"can't be asked for run {run}: {reason}")) from error
