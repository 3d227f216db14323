"""Who runs a study, with which code and on which data: noted in the ledger when work begins."""

from __future__ import annotations

import contextlib
import getpass
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from wsss import __version__
from wsss.config import Study
from wsss.data.readers.inventory import PARTS, Inventory
from wsss.files import sha256_json
from wsss.pipeline.events import DataPart, Origin
from wsss.pipeline.running import this_job
from wsss.stages.programs.git import ask_git

ENTRY = "origin"
"""The type of the ledger's entries that hold one."""
GIT_SECONDS = 10
DIGITS = 32
"""Hex digits of a part's digest: MLflow takes 36 characters."""


def this_origin() -> Origin:
    """Return who runs this process and with which code.

    The commit is that of the repository which tracks this package, else of the one around the current folder.
    """
    user = ""
    with contextlib.suppress(OSError, KeyError):  # a container's user may have no name
        user = getpass.getuser()
    commit, dirty = _commit()
    return Origin(user, __version__, commit, dirty, this_job())


def origin_of(entry: Mapping[str, Any]) -> Origin:
    """Return what an entry of a ledger says, as far as it can be read."""
    known = {one.name: type(one.default) for one in fields(Origin)}
    return Origin(**{name: entry[name] for name, kind in known.items() if isinstance(entry.get(name), kind)})


def entry_of(origin: Origin) -> dict[str, Any]:
    return asdict(origin)


def data_parts(inventory: Inventory | None) -> tuple[DataPart, ...]:
    """Return the images of a study by what they serve; none when it isn't known what its data hold."""
    found = []
    for letter, name in PARTS.items() if inventory is not None else ():
        assert inventory is not None
        held = {
            id: [one.photo, one.labels, one.mask]
            for id, one in inventory.images.items()
            if letter in one.parts
        }
        if held:
            digest = sha256_json([list(inventory.classes), held])[:DIGITS]
            found.append(DataPart(name, len(held), digest))
    return tuple(found)


def data_source(study: Study) -> str:
    """Name where a study's data are: a folder, or the data set itself where it is drawn."""
    return str(study.data.root) if study.data.root is not None else study.data.dataset


def _commit() -> tuple[str, bool]:
    """Return the commit of the code and whether files differ from it; nothing without git or a repository."""
    package = Path(__file__).parents[1]
    tracked = _git(package, "ls-files", "--error-unmatch", "__init__.py")
    folder = package if tracked else Path.cwd()
    commit = (_git(folder, "rev-parse", "--verify", "--quiet", "HEAD") or "").strip()
    if not commit:
        return "", False
    return commit, bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))


def _git(folder: Path, *words: str) -> str:
    """Return what git prints; nothing where it can't answer in time."""
    try:
        done = ask_git(folder, *words, seconds=GIT_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "" if done.returncode else done.stdout.decode(errors="replace")
