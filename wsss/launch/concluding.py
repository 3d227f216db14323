"""What a study came to, for MLflow: at the end of a run, and again by `sync`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from wsss.config import Study
from wsss.errors import WsssError
from wsss.launch.words import note
from wsss.pipeline.past.retell import Past, remember
from wsss.store.storage import Storage
from wsss.tracking import MlflowTracker
from wsss.tracking.content.conclusion import Conclusion
from wsss.tracking.system import SystemSampler

REPORT = "report.html"
"""The page that lies beside a study's ledger."""


def conclude(storage: Storage, name: str, page: Path | None, tracker: MlflowTracker) -> None:
    """Let MLflow know what a study came to. Trouble is said and costs the study nothing.

    Args:
        storage: where the study is.
        name: of the study.
        page: its report, if one was written.
        tracker: of the run that has ended.
    """
    try:
        found = conclusion(storage, remember(storage, name), note)
        if found is not None:
            tracker.conclude(found, page)
    except Exception as error:  # a view: `sync` makes it again
        note(f"MLflow lacks what {name} came to ({error}); `sync` tries again")


@contextlib.contextmanager
def sampled(study: Study, storage: Storage) -> Iterator[None]:
    """Look at how busy the machine is while a study runs, where the study asks for it."""
    if study.tracking.system is None:
        yield
        return
    sampler = SystemSampler(storage, study.name, study.tracking.system)
    try:
        yield
    finally:
        try:
            sampler.close()
        except WsssError as error:
            note(f"how busy the machine was is not kept: {error}")


def conclusion(storage: Storage, past: Past, say: Callable[[str], None]) -> Conclusion | None:
    """Return what a study came to; None where that can't be said: `say` gets the reason.

    Args:
        storage: where it is.
        past: what its ledger holds.
        say: is called with a line for people.
    """
    from wsss.report.compare import compare
    from wsss.report.conclusion import conclusion_of
    from wsss.report.frame import comparison_json

    if not past.courses or past.study is None:
        return None
    try:
        found = compare(storage.location, [past.name])
        return conclusion_of(storage, past, found, json.dumps(comparison_json(found), indent=1))
    except (WsssError, LookupError, ValueError) as error:
        say(f"what {past.name} came to can't be said: {error}")
        return None


def report(storage: Storage, name: str, say: Callable[[str], None]) -> Path | None:
    """Write a study's page beside its ledger and return it; a page that can't be made ends no run.

    Args:
        storage: where the study is.
        name: of the study.
        say: is called with a line for people.
    """
    wait_for_pandas()
    from wsss.report.page import write_page

    try:
        return write_page(storage.location, [name], storage.study_folder(name) / REPORT)
    except (WsssError, OSError, LookupError, ValueError) as error:
        say(f"no report was written: {error}; `report {name}` tries again")
        return None


def wait_for_pandas() -> None:
    """Import pandas whole: MLflow's thread may be in the middle of that, and plotly takes what it finds."""
    import pandas  # noqa: F401
