"""Names of studies, sweeps, arms, stages and scores; what an argument STUDY stands for: a file or a name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from wsss.config.params.base import wrong
from wsss.errors import quoted

FILE_ENDINGS = (".yaml", ".yml")
LONGEST_NAME = 120
"""Bytes of a study's, sweep's, arm's or stage's name: folders and trials are named after them."""


SELECT_MIOU = "select/miou"
"""The score of `select` images that trials are ranked by: "cams/select/miou" with the step's label."""
HOLDOUT_MAP, HOLDOUT_SIZE = "holdout/mAP", "holdout/size"
"""The score of a classifier by hold-out images, which needs no mask, and the long side in pixels at which
they were shown."""


def is_name(word: object) -> bool:
    """Whether a study, sweep, arm or stage may have this name."""
    return (
        isinstance(word, str)
        and re.fullmatch(r"[A-Za-z0-9][\w.-]*", word[: LONGEST_NAME + 1]) is not None
        and len(word.encode()) <= LONGEST_NAME
    )


def name_problem(word: object, what: str) -> str:
    """Return why `what`, a study, sweep, arm or stage, can't have this name, or an empty string."""
    if is_name(word):
        return ""
    what_fits = "letters, digits, '_', '.' or '-', the first a letter or digit"
    expected = f"{what_fits}, at most {LONGEST_NAME} bytes"
    return f"the name of {what} is {quoted(word)}, but must be {expected}"


@dataclass(frozen=True)
class NameOf:
    """Marks a field of pydantic as the name of something: `Annotated[str, NameOf("a sweep")]`."""

    what: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._check, handler(source))

    def _check(self, value: Any) -> Any:
        if message := name_problem(value, self.what):
            raise wrong(message)
        return value


def is_reported(metric: str) -> bool:
    """Whether a score ("cams/report/miou") is of images that are reported, by which nothing may be chosen."""
    return re.search(r"/(report|test|published)/", metric[:400]) is not None


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
    if problem := name_problem(name, "the study"):
        return problem
    if name.lower().endswith(FILE_ENDINGS):
        return f"the name of the study is {name!r}, but words with that ending are files"
    return ""
