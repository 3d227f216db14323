"""Preflight, besides the machines: the storage, its disk, MLflow, and what has changed since the last run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsss.config import Study
    from wsss.data.readers.inventory import Inventory
    from wsss.data.view import DataView
    from wsss.pipeline.check import Check
    from wsss.pipeline.forecasts.forecast import Total


def preflight_checks(
    study: Study, data: DataView, uri: str, total: Total | None = None, *, rough: Total | None = None
) -> list[Check]:
    """Check the storage, its free disk, and the tracking.

    Args:
        study: the study to run.
        data: its images.
        uri: of MLflow.
        total: the forecast of what is left to do, where the caller has made it already.
        rough: a rough forecast: the disk row shows it, and no study is refused for it.
    """
    from wsss.config.text.location import is_remote
    from wsss.pipeline.check import Check
    from wsss.pipeline.forecasts.forecast import forecast, totals
    from wsss.pipeline.forecasts.preflight import Rough, storage_checks
    from wsss.pipeline.forecasts.shared_memory import (
        free_shared_memory,
        needed_shared_memory,
        shared_memory_check,
    )
    from wsss.store.storage import open_storage

    storage = open_storage(study.storage)
    total = total or totals(forecast(study, data, storage.store))
    if is_remote(study.storage):  # of what is there, this machine's disk holds copies, as many as fit
        kept = [Check("storage", "ok", f"{study.storage}, copies in {storage.local}")]
    else:
        about = None
        if rough is not None and rough.bytes is not None:
            about = Rough(rough.bytes, not rough.unknown_bytes)
        kept = storage_checks(storage.local, total.bytes, complete=not total.unknown_bytes, rough=about)
    shared = shared_memory_check(needed_shared_memory(study), free_shared_memory())
    return [*kept, *shared, _tracking_check(uri)]


def study_checks(study: Study, data: DataView) -> list[Check]:
    """Say who runs the study at this moment, what of its data has changed since it was last run, and which
    foreign programs it starts: no row where there is nothing to say."""
    from wsss.config.checks.programs import study_programs
    from wsss.pipeline.check import Check
    from wsss.pipeline.past.data_inventory import stored_inventory, study_inventory
    from wsss.pipeline.running import current_holder
    from wsss.store.storage import open_storage

    storage = open_storage(study.storage)
    holder = current_holder(study.name, storage)
    changed = data_changes(stored_inventory(storage, study.name), study_inventory(study, data))
    found = [Check("study", "note", f"is run by {holder}")] if holder else []
    if changed:
        text = f"not those of the last run: {'; '.join(changed)}. What depends on them is made again"
        found.append(Check("data", "note", text))
    found += [Check("program", "note", str(program)) for program in study_programs(study)]
    return found


def data_changes(before: Inventory | None, now: Inventory) -> list[str]:
    """Return what has changed of a study's data since it was last run; nothing where that isn't known."""
    from wsss.data.readers.inventory import changes

    return [] if before is None else changes(before, now)


def _tracking_check(uri: str) -> Check:
    from wsss.pipeline.check import Check
    from wsss.pipeline.forecasts.preflight import goes_with_the_job
    from wsss.tracking.location import database_file
    from wsss.tracking.reach import reach

    file = database_file(uri)
    if file is not None and goes_with_the_job(file.absolute()):
        hint = "give `tracking.uri` a server, or a file on the head node: sqlite:////FOLDER/mlflow.db"
        return Check("tracking", "bad", f"{file.absolute()} is deleted when the job ends", hint)
    state, found = reach(uri)
    return Check("tracking", state, found)
