"""Settings as keyword arguments, checked as those of study files are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from pydantic import BaseModel

from wsss.config.checks.checker import Checker
from wsss.config.text.yaml_text import Document
from wsss.errors import ConfigError, Problem, nearest

Model = TypeVar("Model", bound=BaseModel)


def checked(model: type[Model], given: Mapping[str, Any], where: str) -> Model:
    """Return settings with the defaults of study files for what is not given.

    Args:
        model: the settings.
        given: values by name.
        where: the function, for messages.

    Raises `ConfigError` with everything that is wrong, and the nearest names.
    """
    checker = Checker(Document(where, dict(given), {}))
    found = checker.read(model, dict(given))
    if checker.problems or found is None:
        raise ConfigError(checker.problems)
    return found


def class_numbers(labels: Sequence[str | int], classes: Sequence[str], where: str) -> list[int]:
    """Return the 0-based classes that labels stand for, each once, in ascending order.

    Args:
        labels: names of classes, or their 0-based numbers.
        classes: the names there are; empty where only numbers are known.
        where: the function, for messages.

    Raises `ConfigError` for unknown ones, all at once.
    """
    if isinstance(labels, str):
        labels = [labels]
    problems, found = [], set()
    for label in labels:
        if isinstance(label, str) and label in classes:
            found.add(classes.index(label))
        elif isinstance(label, str):
            hint = nearest(label, classes) if classes else "give 0-based numbers"
            problems.append(Problem(where, f"there is no class {label!r}", hint))
        elif int(label) >= 0 and (not classes or int(label) < len(classes)):
            found.add(int(label))
        else:
            message = f"{int(label)} is no class: they are numbered from 0 to {len(classes) - 1}"
            problems.append(Problem(where, message))
    if problems:
        raise ConfigError(problems)
    return sorted(found)


def chosen_device(device: str) -> str:
    """Return a torch device: of `auto`, the GPU if there is one."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"
