"""What the driver looks at before a study starts, besides the machines that it runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsss.config import Study
    from wsss.data.view import DataView
    from wsss.pipeline.forecast import Total
    from wsss.pipeline.readiness import Check


def ready_checks(study: Study, data: DataView, uri: str, total: Total | None = None) -> list[Check]:
    """Look at the storage, its disk against what the study is estimated to need (`total`, if somebody has
    reckoned it already), and the tracking."""
    from wsss.config.location import is_remote
    from wsss.pipeline.forecast import forecast, totals
    from wsss.pipeline.readiness import Check, storage_checks
    from wsss.pipeline.storage import open_storage

    storage = open_storage(study.storage)
    total = total or totals(forecast(study, data, storage.store))
    if is_remote(study.storage):  # of what is there, this machine's disk holds copies, as many as fit
        kept = [Check("storage", "ok", f"{study.storage}, copies in {storage.local}")]
    else:
        kept = storage_checks(storage.local, total.bytes, complete=not total.unknown_bytes)
    return [*kept, _tracking_check(uri)]


def _tracking_check(uri: str) -> Check:
    from wsss.pipeline.readiness import Check, goes_with_the_job
    from wsss.tracking.location import database_file
    from wsss.tracking.reach import reach

    file = database_file(uri)
    if file is not None and goes_with_the_job(file.absolute()):
        hint = "give `tracking.uri` a server, or a file on the head node: sqlite:////FOLDER/mlflow.db"
        return Check("tracking", "bad", f"{file.absolute()} is deleted when the job ends", hint)
    state, found = reach(uri)
    return Check("tracking", state, found)
