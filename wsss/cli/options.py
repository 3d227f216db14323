"""Options that several verbs share, and finding the study they speak of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from wsss.config import Study
    from wsss.config.location import Location
    from wsss.data.view import DataView

StudyArgument = Annotated[str, typer.Argument(help="A study file, or the name of a study in the storage.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("-s", "--set", help="Change a value, as in sweeps.cam.fmix.classifier.epochs=1."),
]
StorageOption = Annotated[
    str | None,
    typer.Option("--storage", help="Folder or s3://bucket/prefix for all that studies leave (runs)."),
]
NameOption = Annotated[str | None, typer.Option("--name", help="Run the study under another name.")]
SmokeOption = Annotated[
    bool, typer.Option("--smoke", help="Try the study out: one short trial an arm, sixteen images.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
DEFAULT_STORAGE = "runs"


def storage_location(storage: str | None) -> Location:
    """Return the storage's folder, absolute, or its address. Raises `ConfigError`."""
    from wsss.config.location import parse_location
    from wsss.errors import ConfigError, Problem

    try:
        return parse_location(storage or DEFAULT_STORAGE)
    except ValueError as error:
        message, _, hint = str(error).partition("|")
        raise ConfigError(Problem("--storage", message, hint)) from error


def find(
    study: str, overrides: list[str] | None, storage: str | None, name: str | None, smoke: bool
) -> Study:
    """Return the study that a path or a name stands for. Raises `ConfigError`."""
    from wsss.config import load_study
    from wsss.config import smoke as shrink
    from wsss.config.load import load_study_text
    from wsss.pipeline.storage import open_storage
    from wsss.pipeline.stored import find_study

    location = storage_location(storage)
    path = Path(study)
    if not path.suffix and not path.exists():
        stored = find_study(study, location)
        if not overrides and name is None:
            return shrink(stored) if smoke else stored
        place = open_storage(location)
        stored = load_study_text(
            place.study_text(study) or "",
            source=f"{place.study_address(study)}/study.yaml",
            base=place.study_folder(study),
            overrides=overrides or (),
            name=name,
            storage=storage,
        )
        return shrink(stored) if smoke else stored
    found = load_study(path, overrides or (), name=name, storage=storage)
    return shrink(found) if smoke else found


def open_study_data(study: Study, *, quiet: bool = False) -> DataView:
    """Open the study's data, with a progress bar while images are checked for the first time."""
    import os

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from wsss.data.view import open_data
    from wsss.pipeline.storage import open_storage

    console = Console(stderr=True, quiet=quiet)
    columns = (TextColumn("checking images"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("check", total=None)

        def report(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        folder = open_storage(study.storage).local
        data = open_data(study.data, storage=folder, workers=os.cpu_count() or 1, progress=report)
    for warning in data.warnings:
        typer.echo(f"warning: {warning}", err=True)
    return data
