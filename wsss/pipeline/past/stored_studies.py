"""Studies as a storage holds them: found by name, gone on from, compared with what is asked for now.

A stored study says neither where its storage is (it is where it was read from) nor, of data inside the
storage, where that is: such paths are relative to the study's own folder. So a storage may be moved,
copied or renamed. Data elsewhere have absolute paths, which `-s data.root=FOLDER` changes when data move.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from wsss.config import Study, load_study_text
from wsss.config.checks.trial_names import shared_names
from wsss.config.naming import study_name_problem
from wsss.config.stage import STAGES
from wsss.config.stage_use import is_path
from wsss.config.text.location import Location, absolute_sqlite, own_database
from wsss.config.text.yaml_text import dump_yaml, parse_value, parse_yaml
from wsss.data.readers.inventory import Inventory
from wsss.data.view import DataView
from wsss.errors import ConfigError, Problem
from wsss.pipeline.past.base_study import base_trials
from wsss.pipeline.past.data_inventory import INVENTORY_FILE, stored_inventory
from wsss.pipeline.past.extending import overlook_more
from wsss.pipeline.search.trials import Trial
from wsss.store.folder_storage import STUDY
from wsss.store.storage import Storage, open_storage

DATA_PATHS = ("root", "labels", "masks")
NO_PATHS = ("none",)
"""What may stand in a path's place."""
GOES_ON = "`run` the study with your own file: it goes on"
WRITTEN_ALWAYS = {"name", "data", "seed", "sweeps", "retain", "tracking"}
"""Keys that every stored study has, the last of them at its end: a text that was cut lacks them."""


def find_study(
    name: str, location: Location, overrides: Sequence[str] = (), *, rename: str | None = None
) -> Study:
    """Return the study of that name as it was stored, in the storage that it was found in.

    Args:
        name: the study's name there.
        location: the storage's folder or address.
        overrides: changes as of `-s`; paths among them are relative to the current folder. Where the data's
            root is changed, labels and masks that lay in the old one are looked for in the new one.
        rename: another name for what is read.

    Raises `ConfigError`: with the nearest name when there is none, or with everything that is wrong.
    """
    storage = open_storage(location)
    text = None if study_name_problem(name) and not _is_old_name(name, storage) else storage.study_text(name)
    source = f"{storage.study_address(name)}/{STUDY}"
    if text is None:
        known = storage.study_names()
        if name in known:
            raise ConfigError(Problem(source, "is missing", GOES_ON))
        raise storage.no_study(name)
    _refuse_damaged(text, source)
    changes = []
    for change in overrides:
        key, _, value = change.partition("=")
        if key == "storage":
            hint = "give --storage for where it is, or run its study file with --storage for another place"
            raise ConfigError(Problem(f"-s {change}", "a stored study is where it was found", hint))
        if key == "name":
            rename = rename or value
        else:
            changes.append(_from_here(change))
    changes = [*_within_moved_root(text, source, changes), *changes]
    return load_study_text(
        text,
        source=source,
        base=storage.study_folder(name),
        overrides=changes,
        name=rename or name,
        storage=str(location),
        known=rename is None and not any(_may_be_unfair(change) for change in changes),
    )


def with_bases(study: Study, location: Location) -> Iterator[Study]:
    """Iterate over a study and those that it is based on, as far as the storage still has them."""
    seen: set[str] = set()
    while study.name not in seen:
        seen.add(study.name)
        yield study
        if study.base is None or study.base.study not in open_storage(location).study_names():
            return
        study = find_study(study.base.study, location)


def _may_be_unfair(change: str) -> bool:
    """Whether a change may make arms unequal: what an earlier version allowed is then looked at anew."""
    return change.partition("=")[0].partition(".")[0] in ("sweeps", "allow", "protocol")


def _refuse_damaged(text: str, source: str) -> None:
    """Raise `ConfigError` for what no run has stored, with the way to go on."""
    try:
        content = parse_yaml(text, source).value
    except ConfigError as error:
        first = error.problems[0]
        raise ConfigError(Problem(first.where, first.message, f"move it away and {GOES_ON}")) from error
    if not isinstance(content, dict) or not content.keys() >= WRITTEN_ALWAYS:
        raise ConfigError(Problem(source, "is not a whole study", f"move it away and {GOES_ON}"))


def _is_old_name(name: str, storage: Storage) -> bool:
    """Whether an earlier version has stored a study under a name that none gets any more."""
    return name in storage.study_names()


def _from_here(change: str) -> str:
    """Return a change of a path, of the data or of a stage, with the path absolute."""
    key, _, text = change.partition("=")
    group, last = key.partition(".")[0], key.rpartition(".")[2]
    of_stages = {one.rpartition(".")[2] for kind in STAGES.values() for one in kind.paths}
    if not (last in of_stages if group == "sweeps" else key in {f"data.{name}" for name in DATA_PATHS}):
        return change
    value = parse_value(text)
    if not is_path(last, value) or (group == "data" and value in NO_PATHS):
        return change
    return f"{key}={dump_yaml(os.path.abspath(os.path.expanduser(value))).splitlines()[0]}"


def _within_moved_root(text: str, source: str, changes: Sequence[str]) -> Iterator[str]:
    """Iterate over the changes of labels and masks that go with a change of the data's root."""
    roots = [parse_value(change.partition("=")[2]) for change in changes if change.startswith("data.root=")]
    content = parse_yaml(text, source).value
    data = content.get("data") if isinstance(content, dict) else None
    old = data.get("root") if isinstance(data, dict) else None
    if not roots or not isinstance(roots[-1], str) or not isinstance(old, str):
        return
    for key in ("labels", "masks"):
        path = data.get(key) if isinstance(data, dict) else None
        if isinstance(path, str) and path not in NO_PATHS and Path(path).is_relative_to(old):
            moved = str(Path(roots[-1]) / Path(path).relative_to(old))
            yield f"data.{key}={dump_yaml(moved).splitlines()[0]}"


def stored_text(study: Study, storage: Storage) -> str:
    """Return what a storage keeps of a study: the study without its storage, and with paths inside the
    storage relative to the study's folder there."""
    raw = study.to_raw()
    if isinstance(storage.location, Path):
        place, folder = storage.location, storage.study_folder(study.name)
        for group, key in _paths_in(raw):
            if Path(group[key]).is_relative_to(place):
                group[key] = os.path.relpath(group[key], folder)
        raw["tracking"]["uri"] = absolute_sqlite(raw["tracking"].get("uri"))
        if raw["tracking"].get("uri") == own_database(place):  # where it is anyway
            raw["tracking"]["uri"] = None
    return dump_yaml(raw)


def _paths_in(raw: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Iterate over (mapping, key) of the paths to data in a study. Paths of weights are none of them: these
    count in the keys of artefacts."""
    for key in DATA_PATHS:
        if raw["data"].get(key) not in (None, *NO_PATHS):
            yield raw["data"], key
    for sweep in raw["sweeps"]:
        for arm in [sweep, *sweep.get("arms", {}).values()]:
            for use in arm.get("stages", ()):
                for stage, params in use.items():
                    paths = STAGES[stage].paths if params else ()
                    yield from (
                        (params, key) for key in paths if key != "weights" and is_path(key, params.get(key))
                    )


def upstream_of(study: Study, data: DataView) -> list[Trial]:
    """Return the trials that a study's first sweep starts from: none, or those kept by its base.

    Raises `ConfigError` where the base doesn't fit, and before a study's first trial where trials that start
    from its arms would share a name.
    """
    if study.base is None:
        return []
    storage, base = open_storage(study.storage), find_study(study.base.study, study.storage)
    upstream = base_trials(study.base, base, storage.ledger(base.name).trials(), data)
    if not storage.ledger(study.name).trials():  # what an earlier version has begun keeps its names
        arms = list(dict.fromkeys(trial.info.arm for trial in upstream))
        if problems := [problem for _, problem in shared_names(study.sweeps, arms)]:
            raise ConfigError(problems)
    return upstream


def check_same_content(study: Study, data: Inventory | None = None, *, later: bool = False) -> None:
    """Refuse to go on under a name that already holds another study, showing the difference. More of what the
    study has (seeds, samples, arms, budget) is no other study.

    `data` is what the study's data hold now: data that were moved may have other paths if they hold the
    same. `later`: that is not known yet, and is looked at in another call.
    """
    storage = open_storage(study.storage)
    if storage.study_text(study.name) is None or _was_never_begun(study.name, storage):
        return
    # Read and written anew, so that a key which has come to exist since is there with its default.
    old = find_study(study.name, study.storage).to_raw()
    new = study.to_raw()
    overlook_more(old, new)
    if later or (data is not None and data == stored_inventory(storage, study.name)):
        _overlook_paths(old, new)
    changed = [
        line
        for line in difflib.unified_diff(
            dump_yaml(old).splitlines(), dump_yaml(new).splitlines(), lineterm="", n=0
        )
        if line[:1] in "+-" and not line.startswith(("+++", "---"))
    ]
    if changed:
        moved = _overlook_paths(old, new) and old == new
        hint = "these are paths of data, which may change where the data have not" if moved else ""
        problems = [Problem("", line) for line in changed]
        raise ConfigError(
            [*problems, *([Problem("", hint)] if hint else [])],
            title=(
                f"the storage has another study named {study.name!r}; "
                "give this one its own with --name NAME. What differs (- stored, + now)"
            ),
        )


def _was_never_begun(name: str, storage: Storage) -> bool:
    """Whether a study was stored, but stopped before its first trial: by a mistake in its file, perhaps."""
    ledger = storage.ledger(name)
    return storage.note(name, INVENTORY_FILE) is None and not ledger.trials() and not ledger.is_lost()


def _overlook_paths(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Replace the stored paths of data by those of now; return whether there are as many."""
    before, now = list(_paths_in(old)), list(_paths_in(new))
    if [key for _, key in before] != [key for _, key in now]:
        return False
    for (group, key), (other, _) in zip(before, now, strict=True):
        group[key] = other[key]
    return True
