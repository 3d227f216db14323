"""Study files: found, read, overridden, checked, written back."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from wsss.config.checks.study import check_study
from wsss.config.study import Study
from wsss.config.text.overrides import apply_overrides
from wsss.config.text.paths import check_path
from wsss.config.text.yaml_text import MOST_VALUES, dump_yaml, parse_yaml, read_text
from wsss.errors import ConfigError, Problem, nearest

DEFAULT_STORAGE = "runs"
MOST_WRITTEN = 10_000
"""Values of a study file; stored ones spell out what was left to defaults, and may have more."""


def load_study(
    path: Path, overrides: Sequence[str] = (), *, name: str | None = None, storage: str | None = None
) -> Study:
    """Return the study in a file, with overrides applied.

    Raises `ConfigError` with everything that is wrong.

    Args:
        path: the file.
        overrides: changes as of `-s`.
        name: wins over the file's; without either it is the file's own name without its ending.
        storage: a folder or an address, wins over the file's; without either it is `runs` in the current
            folder.
    """
    if not check_path(path) and not os.path.lexists(path):
        raise ConfigError(Problem(str(path), "there is no such study file", _nearest_file(path)))
    return load_study_text(
        read_text(path),
        source=str(path),
        base=Path(os.path.realpath(path)).parent,
        overrides=overrides,
        name=name,
        storage=storage,
        most=MOST_WRITTEN,
    )


def _nearest_file(path: Path) -> str:
    known = (file for folder in (path.parent, Path("tune_configs")) for file in folder.glob("*.yaml"))
    return nearest(str(path), sorted(map(str, itertools.islice(known, 1000))))


def load_study_text(
    text: str,
    *,
    source: str,
    base: Path,
    overrides: Sequence[str] = (),
    name: str | None = None,
    storage: str | None = None,
    most: int = MOST_VALUES,
    known: bool = False,
) -> Study:
    """Return the study in a text. Raises `ConfigError` with everything that is wrong.

    Args:
        text: YAML.
        source: what messages call it; its stem is the study's name where the text has none.
        base: the folder that relative data paths refer to.
        overrides: changes as of `-s`.
        name: wins over the text's, whatever stands there; so does `storage`.
        storage: a folder or an address.
        most: values that the text may have.
        known: a storage has it under its name already, which an earlier version may have allowed.
    """
    document = parse_yaml(text, source, most=most)
    document, overridden = apply_overrides(document, overrides, {"name": name, "storage": storage})
    stem = Path(source).stem
    return check_study(
        document,
        base,
        name=stem,
        storage=Path(DEFAULT_STORAGE).resolve(),
        overridden=overridden,
        known=known,
    )


def dump_study(study: Study) -> str:
    """Return the study as YAML that `load_study_text` reads back as an equal one, where its storage is the
    same: a study is where it is found, so its text does not say."""
    return dump_yaml(study.to_raw())
