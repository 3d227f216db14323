"""Studies as a storage holds them: found by name, gone on from, compared with what is asked for now."""

from __future__ import annotations

import dataclasses
import difflib
import re

from wsss.config import Budget, Study, dump_study, load_study_text
from wsss.config.location import Location
from wsss.config.study import is_name
from wsss.data.view import DataView
from wsss.errors import ConfigError, Problem, nearest, quoted
from wsss.pipeline.base import base_trials
from wsss.pipeline.storage import Storage, open_storage
from wsss.pipeline.trials import Trial


def find_study(name: str, location: Location) -> Study:
    """Return the study of that name as it was stored. Raises `ConfigError` with the nearest name."""
    storage = open_storage(location)
    stored = _stored(name, storage) if is_name(name) else None
    if stored is None:
        known = storage.study_names()
        hint = nearest(name, known) if known else "the storage has no studies yet"
        raise ConfigError(Problem(str(location), f"no study is named {quoted(name)}", hint))
    return stored


def _stored(name: str, storage: Storage) -> Study | None:
    text = storage.study_text(name)
    if text is None:
        return None
    source = f"{storage.study_address(name)}/study.yaml"
    return load_study_text(text, source=source, base=storage.study_folder(name))


def upstream_of(study: Study, data: DataView) -> list[Trial]:
    """Return the trials that a study's first sweep starts from: none, or those kept by its base."""
    if study.base is None:
        return []
    base = find_study(study.base.study, study.storage)
    return base_trials(study.base, base, open_storage(study.storage).ledger(base.name).trials(), data)


def check_same_content(study: Study) -> None:
    """Refuse to go on under a name that already holds another study, showing the difference."""
    # Read and written anew, so that a key which has come to exist since is there with its default.
    stored = _stored(study.name, open_storage(study.storage))
    if stored is None:
        return
    # How much it may use up changes nothing of what it finds.
    old = dump_study(dataclasses.replace(stored, budget=Budget())).splitlines()
    new = dump_study(dataclasses.replace(study, budget=Budget())).splitlines()
    changed = [
        line
        for line in difflib.unified_diff(old, new, lineterm="", n=0)
        if line[:1] in "+-" and not line.startswith(("+++", "---"))
    ]
    changed = [line for line in changed if not re.match(r"[+-](storage|tracking|  uri):", line)]
    if changed:
        problems = [Problem("", line) for line in changed]
        raise ConfigError(
            problems,
            title=(
                f"the storage has another study named {study.name!r}; "
                "give this one its own with --name NAME. What differs (- stored, + now)"
            ),
        )
