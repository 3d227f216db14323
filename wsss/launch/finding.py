"""The study, the storage and the data that a command speaks of."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsss.config import Study
    from wsss.config.text.location import Location
    from wsss.data.view import DataView
    from wsss.errors import ConfigError, Problem


def storage_location(storage: str | None) -> Location:
    """Return the storage's folder, absolute, or its address. Raises `ConfigError`."""
    from wsss.config.load import DEFAULT_STORAGE
    from wsss.config.text.location import parse_location
    from wsss.errors import ConfigError, Problem

    if storage is not None and not storage.strip():  # of a variable that isn't set, perhaps
        hint = "give a folder or s3://bucket/prefix, or leave it out"
        raise ConfigError(Problem("--storage", "is empty", hint))
    try:
        return parse_location(storage or DEFAULT_STORAGE)
    except ValueError as error:
        message, _, hint = str(error).partition("|")
        raise ConfigError(Problem("--storage", message, hint)) from error


def find(
    study: str, overrides: list[str] | None, storage: str | None, name: str | None, smoke: bool
) -> Study:
    """Return the study that a file or a name stands for. Raises `ConfigError`.

    Args:
        study: a study file, or the name of a study in the storage.
        overrides: changes, each as "sweeps.cam.fmix.classifier.epochs=1".
        storage: folder or address of the storage; the study's own, or `runs`, when None.
        name: another name to run it under.
        smoke: whether to shrink it to one short trial an arm.
    """
    from wsss.config import load_study
    from wsss.config import smoke as shrink
    from wsss.config.naming import names_a_file
    from wsss.errors import ConfigError, Problem

    location = storage_location(storage)  # first, as it quotes no secrets
    if name is not None and not name.strip():
        raise ConfigError(Problem("--name", "is empty", "give a name, or leave it out"))
    if names_a_file(study):
        found = load_study(Path(study), overrides or (), name=name, storage=storage)
    else:
        from wsss.pipeline.past.stored_studies import find_study

        found = find_study(study, location, overrides or (), rename=name)
    return shrink(found) if smoke else found


def find_stored(study: str, storage: str | None) -> tuple[str, Location]:
    """Return the name and the storage of the stored study that a file or a name stands for.

    The storage is `storage`, else the file's, else the default. Raises `ConfigError` for a file that
    can't be read; whether there is such a study is not looked at.
    """
    from wsss.config import load_study
    from wsss.config.naming import names_a_file

    location = storage_location(storage)
    if not names_a_file(study):
        return study, location
    found = load_study(Path(study), storage=storage)
    return found.name, found.storage


def find_all(studies: Sequence[str], storage: str | None) -> tuple[Location, list[str]]:
    """Return the one storage, and the names, of studies that are given as names or files; all of a storage
    when none are given. Raises `ConfigError` where there are none, or where they lie apart.
    """
    from wsss.errors import ConfigError, Problem
    from wsss.store.storage import open_storage

    found = [find_stored(study, storage) for study in studies]
    places = list(dict.fromkeys(place for _, place in found)) or [storage_location(storage)]
    if len(places) > 1:
        message = f"studies lie in {' and '.join(map(str, places))}, but must be of one storage"
        raise ConfigError(Problem("STUDY", message, "give --storage"))
    names = list(dict.fromkeys(name for name, _ in found)) or open_storage(places[0]).study_names()
    if not names:
        raise _no_studies(places[0])
    return places[0], names


def _no_studies(place: Location) -> ConfigError:
    from wsss.errors import ConfigError, Problem

    gone = isinstance(place, Path) and not place.is_dir()
    message = "there is no such folder" if gone else "there are no studies here"
    return ConfigError(Problem(str(place), message, "run one first, or give --storage FOLDER"))


def open_study_data(study: Study, *, quiet: bool = False, folder: Path | None = None) -> DataView:
    """Open the study's data, with a progress bar while images are checked for the first time.

    Raises `DataError` with everything that is wrong with them.

    Args:
        study: whose data.
        quiet: shows no bar.
        folder: takes the drawn sample set and the memory of images that were checked; by default the storage.
    """
    from wsss.data.view import open_data
    from wsss.errors import DataError, Problem
    from wsss.store.storage import open_storage

    if study.data.root is not None and not study.data.root.is_dir():
        if study.data.root.is_file():
            message = f"is {study.data.root}, a file, but must be the folder of the photos"
            raise DataError(Problem("data.root", message))
        hint = "if the data were moved, `-s data.root=FOLDER` says where they are now"
        raise DataError(Problem("data.root", f"is {study.data.root}, but there is no such folder", hint))
    folder = folder or open_storage(study.storage).local
    with checking_bar("checking images", quiet=quiet) as report:
        data = open_data(study.data, storage=folder, workers=os.cpu_count() or 1, progress=report)
    for line in warning_lines(data.warnings):
        print(line, file=sys.stderr)
    return data


@contextmanager
def checking_bar(what: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on stderr while files are checked, and yield the function that moves it.

    That function takes (files done, all files).

    Args:
        what: stands before the bar.
        quiet: shows none.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, quiet=quiet)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("check", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def warning_lines(warnings: Sequence[Problem]) -> list[str]:
    """Return the lines that a terminal shows of warnings: the first of them, and how many more there are."""
    from wsss.errors import LONGEST, bounded

    lines, more = bounded(warnings, longest=LONGEST // 2, before="warning: ")
    return [*lines, f"… and {more:,} more warnings"] if more else lines
