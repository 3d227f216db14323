"""Options that several verbs share, and finding the study they speak of."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wsss.launch.finding import storage_location

if TYPE_CHECKING:
    from wsss.config import Study

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
AllowOption = Annotated[
    bool,
    typer.Option("--allow-commands", help="Let the study start the programs that its `command` stages name."),
]
AlwaysOption = Annotated[
    bool,
    typer.Option(
        "--always-allow-commands", help="The same, for all studies of yours on this machine from now on."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]


def invocation(*words: str) -> str:
    """Return a command line as the user would type it: by `launch.py` where this one was started so."""
    started = sys.argv[0] if sys.argv else ""
    if Path(started).name != "launch.py":
        return shlex.join(["wsss", *words])
    python = sys.executable
    inside = os.path.relpath(python)
    return shlex.join([inside if not inside.startswith("..") else python, started, *words])


def of_study(verb: str, study: Study, *words: str, named: bool = True) -> str:
    """Return the command line of a verb on a study, its storage named unless that is the default.

    Args:
        verb: such as `compare`.
        study: in its storage.
        words: what follows.
        named: whether the verb takes the study's name.
    """
    place = [] if study.storage == storage_location(None) else ["--storage", str(study.storage)]
    return invocation(verb, *([study.name] if named else []), *words, *place)
