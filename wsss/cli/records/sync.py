"""`sync [STUDY …]`: MLflow brought up to what a storage holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsss.cli.options import JsonOption, StorageOption
from wsss.launch.finding import find_all

if TYPE_CHECKING:
    from wsss.store.storage import Storage
    from wsss.tracking.sync import Synced


def sync(
    studies: Annotated[list[str] | None, typer.Argument(help="Files or names (default: all).")] = None,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring MLflow up to what the storage holds: it may be lost, emptied, broken or moved.

    Runs, parameters, metrics, files and models that are missing are added, with the times at which things
    happened. What is there stays as it is. A database that MLflow can't open is kept under another name.

    python launch.py sync

    python launch.py sync quickstart --storage /shared/runs
    """
    import warnings

    from wsss.addresses import shown
    from wsss.errors import Problem, TrackingError, WsssError
    from wsss.store.storage import open_storage

    warnings.filterwarnings("ignore", module="mlflow")
    location, names = find_all(studies or (), storage)
    place = open_storage(location)
    for name in names:
        place.require(name)
    told: list[dict[str, Any]] = []
    problems: list[Problem] = []
    for name in names:
        try:
            uri, synced = _sync(place, name)
        except TrackingError as error:
            problems += [problem for problem in error.problems if problem not in problems]
            continue
        except WsssError as error:
            problems += [Problem(f"{name}: {one.where}", one.message, one.hint) for one in error.problems]
            continue
        told.append({"study": name, "tracking": shown(uri), "runs": synced.runs, "added": synced.added})
        told[-1]["notes"] = synced.notes
        if not as_json:
            _say(name, shown(uri), synced)
    if as_json:
        print(json.dumps({"storage": str(location), "studies": told}, indent=1))
    if problems:
        raise TrackingError(problems)


def _sync(place: Storage, name: str) -> tuple[str, Synced]:
    from wsss.launch.concluding import conclusion, report
    from wsss.pipeline.past.stored_studies import find_study
    from wsss.tracking import tracking_uri
    from wsss.tracking.sync import sync_study

    uri = tracking_uri(find_study(name, place.location).tracking.uri, place.location)
    notes: list[str] = []
    synced = sync_study(
        place,
        name,
        uri,
        conclude=lambda past: conclusion(place, past, notes.append),
        write_report=lambda: report(place, name, notes.append),
    )
    synced.notes += notes
    return uri, synced


def _say(name: str, where: str, synced: Synced) -> None:
    for note in synced.notes:
        print(note)
    added = ", ".join(f"{count} {what}" for what, count in synced.added.items())
    print(f"{name}: {synced.runs} runs in {where}; {f'added {added}' if added else 'nothing was missing'}")
