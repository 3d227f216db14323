"""Checks, before the first trial, that a machine has what a foreign program needs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wsss.errors import WsssError
from wsss.stages.kinds.programs.words import as_word
from wsss.stages.programs import environment
from wsss.stages.programs.folder import look_at


@dataclass(frozen=True)
class Needs:
    """What a program needs of every machine that may run it: paths of its folder and its Python, or the name
    of a conda environment, and how its command line begins. Parts that the study leaves out, or searches, are
    empty."""

    folder: str
    python: str = ""
    conda: str = ""
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """What one machine has: the code's digest and commit, the version of Python (empty where it was not
    started), and what is `wrong`, if anything is."""

    digest: str = ""
    commit: str = ""
    changes: int = 0
    python: str = ""
    wrong: str = ""

    @property
    def code(self) -> str:
        """The state of the folder in words."""
        if not self.commit:
            return f"files {self.digest[:7]}"
        changed = f" and {self.changes} changed file{'s' if self.changes > 1 else ''}" if self.changes else ""
        return f"commit {self.commit[:7]}{changed}"


def needs(params: Mapping[str, Any]) -> Needs:
    """Return what the program of a stage needs, from the stage's keys as a study has them."""
    given = params.get("environment")
    of = given if isinstance(given, Mapping) else {}
    folder, python, conda = (
        _known(value) for value in (params.get("folder"), of.get("python"), of.get("conda"))
    )
    run = params.get("run")
    return Needs(folder, python, conda, tuple(map(as_word, run[:2])) if isinstance(run, list | tuple) else ())


def _known(value: object) -> str:
    return "" if value is None or str(value).startswith("$") else str(value)


def look(program: Needs, *, start: bool) -> Found:
    """Look for a program's folder, interpreter and file on this machine.

    Args:
        program: what it needs.
        start: whether its interpreter is started, which the user must have allowed.
    """
    found = Found()
    try:
        if program.folder:
            source = look_at(Path(program.folder))
            found = Found(source.digest, source.commit, len(source.changed))
        python = environment.interpreter(
            Path(program.python) if program.python else None, program.conda or None
        )
        variables = environment.variables(python, threads=1, device="cpu", workers=1)
        if start:
            found = replace(found, python=environment.version(python, variables))
        return replace(found, wrong=_missing_file(program, variables["PATH"]))
    except WsssError as error:
        return replace(found, wrong="; ".join(str(problem) for problem in error.problems))


def _missing_file(program: Needs, path: str) -> str:
    """Return what is wrong with the file that the command line names, the program or Python's script; empty
    when nothing is."""
    first, *rest = program.words or ("",)
    script = first in environment.PYTHONS and bool(rest) and rest[0].endswith(".py")
    name = rest[0] if script else first
    if not name or name in environment.PYTHONS or set(name) & set("{}$"):
        return ""
    if not script and os.sep not in name:
        return "" if shutil.which(name, path=path) else f"there is no program {name} in {path}"
    if not program.folder and not os.path.isabs(name):
        return ""
    file = Path(program.folder, name)
    if not file.is_file():
        return f"there is no {name} in {program.folder}"
    return "" if script or os.access(file, os.X_OK) else f"{file} isn't executable"
