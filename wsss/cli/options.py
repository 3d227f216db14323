"""Options that several verbs share, and finding the study they speak of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from wsss.config import Study
    from wsss.data.view import DataView

StudyArgument = Annotated[str, typer.Argument(help="A study file, or the name of a study in the storage.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("-s", "--set", help="Change a value, as in sweeps.cam.fmix.classifier.epochs=1."),
]
StorageOption = Annotated[
    str | None, typer.Option("--storage", help="Folder for everything a study leaves (default: runs).")
]
NameOption = Annotated[str | None, typer.Option("--name", help="Run the study under another name.")]
SmokeOption = Annotated[
    bool, typer.Option("--smoke", help="Try the study out: one short trial an arm, sixteen images.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
DEFAULT_STORAGE = "runs"


def storage_path(storage: str | None) -> Path:
    """Return the storage folder, absolute."""
    return Path(storage or DEFAULT_STORAGE).resolve()


def find(
    study: str, overrides: list[str] | None, storage: str | None, name: str | None, smoke: bool
) -> Study:
    """Return the study that a path or a name stands for. Raises `ConfigError`."""
    from wsss.config import load_study
    from wsss.config import smoke as shrink
    from wsss.pipeline.study import find_study, studies_folder

    path = Path(study)
    if not path.suffix and not path.exists():
        folder = storage_path(storage)
        stored = find_study(study, folder)
        if not overrides and name is None:
            return shrink(stored) if smoke else stored
        path = studies_folder(folder) / study / "study.yaml"
    found = load_study(path, overrides or (), name=name, storage=storage)
    return shrink(found) if smoke else found


def open_study_data(study: Study, *, quiet: bool = False) -> DataView:
    """Open the study's data, with a progress bar while images are checked for the first time."""
    import os

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from wsss.data.view import open_data

    console = Console(stderr=True, quiet=quiet)
    columns = (TextColumn("checking images"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("check", total=None)

        def report(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        return open_data(study.data, storage=study.storage, workers=os.cpu_count() or 1, progress=report)
