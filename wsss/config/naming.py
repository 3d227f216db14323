"""What a study may be called, and what an argument STUDY stands for: a file or a name."""

from __future__ import annotations

from pathlib import Path

from wsss.config.checker import NAME

FILE_ENDINGS = (".yaml", ".yml")
LONGEST = 100
"""Characters of a name: it is a folder's, a part of addresses, and an experiment's."""


def names_a_file(text: str) -> bool:
    """Whether an argument STUDY is a file: a regular file, or a word with the ending of one.

    Everything else is a name, a folder of that name included.
    """
    if text.lower().endswith(FILE_ENDINGS):
        return True
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # longer than a path can be
        return False


def study_name_problem(name: str) -> str:
    """Return why a study can't be called so, or an empty string."""
    if not NAME.fullmatch(name):
        return f"the name of the study is {name[:LONGEST]!r}, but must be letters, digits, '_', '.' or '-'"
    if len(name) > LONGEST:
        return f"the name of the study has {len(name)} characters, but must have at most {LONGEST}"
    if name.lower().endswith(FILE_ENDINGS):
        return f"the name of the study is {name!r}, but words with that ending are files"
    return ""
