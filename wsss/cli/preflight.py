"""What the driver looks at before a study starts, besides the machines that it runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsss.config import Study
    from wsss.data.view import DataView
    from wsss.pipeline.readiness import Check


def ready_checks(study: Study, data: DataView, uri: str) -> list[Check]:
    """Look at the storage, its disk against what the study is estimated to need, and the tracking."""
    from wsss.pipeline.forecast import forecast, totals
    from wsss.pipeline.readiness import Check, storage_checks
    from wsss.pipeline.store import Store
    from wsss.tracking.reach import reach

    total = totals(forecast(study, data, Store(study.storage / "store")))
    state, found = reach(uri)
    return [
        *storage_checks(study.storage, total.bytes, complete=not total.unknown_bytes),
        Check("tracking", state, found),
    ]
