"""What a study came to, for MLflow: at the end of `run`, and again by `sync`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from wsss.errors import WsssError

if TYPE_CHECKING:
    from wsss.pipeline.past.retell import Past
    from wsss.report.comparison import Comparison
    from wsss.store.storage import Storage
    from wsss.tracking import MlflowTracker
    from wsss.tracking.content.conclusion import Conclusion

REPORT = "report.html"
"""The page that lies beside a study's ledger."""


def conclude(
    name: str, storage: Storage, comparison: Comparison, page: Path | None, tracker: MlflowTracker
) -> None:
    """Let MLflow know what a study came to. Trouble is said and costs the study nothing.

    Args:
        name: of the study.
        storage: where it is.
        comparison: of its arms.
        page: the study's report, if one was written.
        tracker: of the run that has ended.
    """
    try:
        from wsss.pipeline.past.retell import remember

        said: list[str] = []
        found = conclusion(storage, remember(storage, name), said.append, comparison)
        if found is not None:
            tracker.conclude(found, page)
        for text in said:
            print(f"note: {text}", file=sys.stderr, flush=True)
    except Exception as error:  # a view: `sync` makes it again
        print(f"note: MLflow lacks what {name} came to ({error}); `sync` tries again", file=sys.stderr)


def conclusion(
    storage: Storage, past: Past, note: Callable[[str], None], comparison: Comparison | None = None
) -> Conclusion | None:
    """Return what a study came to; None where that can't be said, which is noted.

    Args:
        storage: where it is.
        past: what its ledger holds.
        note: is called with a line for people.
        comparison: of its arms, where it is there already.
    """
    from wsss.cli.comparison.compare import comparison_json
    from wsss.report.compare import compare
    from wsss.report.conclusion import conclusion_of

    if not past.courses or past.study is None:
        return None
    try:
        found = comparison or compare(storage.location, [past.name])
        return conclusion_of(storage, past, found, json.dumps(comparison_json(found), indent=1))
    except (WsssError, KeyError, ValueError) as error:
        note(f"what {past.name} came to can't be said: {error}")
        return None


def report(storage: Storage, name: str, note: Callable[[str], None]) -> Path | None:
    """Write a study's page beside its ledger and return it; None where that can't be done, which is noted."""
    from wsss.report.page import write_page

    try:
        return write_page(storage.location, [name], storage.study_folder(name) / REPORT)
    except (WsssError, OSError, KeyError, ValueError) as error:
        note(f"no report of {name} was made: {error}")
        return None
