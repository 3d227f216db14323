"""What the driver looks at before a study starts, besides the machines that it runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsss.config import Study
    from wsss.data.view import DataView
    from wsss.pipeline.readiness import Check


def ready_checks(study: Study, data: DataView, uri: str) -> list[Check]:
    """Look at the storage, its disk against what the study is estimated to need, and the tracking."""
    from wsss.config.location import is_remote
    from wsss.pipeline.forecast import forecast, totals
    from wsss.pipeline.readiness import Check, storage_checks
    from wsss.pipeline.storage import open_storage
    from wsss.tracking.reach import reach

    storage = open_storage(study.storage)
    total = totals(forecast(study, data, storage.store))
    state, found = reach(uri)
    if is_remote(study.storage):  # of what is there, this machine's disk holds copies, as many as fit
        kept = [Check("storage", "ok", f"{study.storage}, copies in {storage.local}")]
    else:
        kept = storage_checks(storage.local, total.bytes, complete=not total.unknown_bytes)
    return [*kept, Check("tracking", state, found)]
