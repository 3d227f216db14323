"""What a study may be called, and what an argument STUDY stands for: a file or a name."""

from __future__ import annotations

from pathlib import Path

from wsss.config.study import LONGEST_NAME, is_name
from wsss.errors import quoted

FILE_ENDINGS = (".yaml", ".yml")


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
    if not is_name(name):
        expected = f"at most {LONGEST_NAME} letters, digits, '_', '.' or '-', the first a letter or digit"
        return f"the name of the study is {quoted(name)}, but must be {expected}"
    if name.lower().endswith(FILE_ENDINGS):
        return f"the name of the study is {name!r}, but words with that ending are files"
    return ""
