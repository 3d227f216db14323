"""Study files: found, read, overridden, checked, written back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wsss.config.check import check_study
from wsss.config.overrides import apply_overrides
from wsss.config.study import Study
from wsss.config.yaml_text import dump_yaml, parse_yaml, read_text
from wsss.errors import ConfigError, Problem, nearest

DEFAULT_STORAGE = "runs"


def load_study(
    path: Path, overrides: Sequence[str] = (), *, name: str | None = None, storage: str | None = None
) -> Study:
    """Return the study in a file, with overrides applied.

    `name` and `storage` win over the file's; without either the name is the file's and the storage
    is `runs` in the current directory. Raises `ConfigError` with everything that is wrong.
    """
    if not path.is_file():
        known = sorted(str(p) for p in (*path.parent.glob("*.yaml"), *Path("tune_configs").glob("*.yaml")))
        raise ConfigError(Problem(str(path), "there is no such study file", nearest(str(path), known)))
    return load_study_text(
        read_text(path),
        source=str(path),
        base=path.resolve().parent,
        overrides=overrides,
        name=name,
        storage=storage,
    )


def load_study_text(
    text: str,
    *,
    source: str,
    base: Path,
    overrides: Sequence[str] = (),
    name: str | None = None,
    storage: str | None = None,
    known: bool = False,
) -> Study:
    """Return the study in a text; `base` is the folder that relative data paths refer to.

    `name` and `storage` win over the text's, whatever stands there. `known`: a storage has it under its
    name already. Raises `ConfigError` with everything that is wrong.
    """
    document, overridden = apply_overrides(parse_yaml(text, source), overrides)
    if isinstance(document.value, dict):
        for key, value in (("name", name), ("storage", storage)):
            if value is not None:  # as they are: a folder may be called 2024, or `a: b`
                document.value[key] = value
                overridden[(key,)] = f"{key}={value}"
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
