"""What can go wrong, as one small family of exceptions.

Each class says who has to act: the person who wrote the study file (`ConfigError`), the person
who owns the photos (`DataError`), the person who owns the machines (`PreflightError`,
`TrackingError`), or us (`StageError`). The command line turns the class into an exit code.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wsss.addresses import scrub


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    `where` names the file, line or key; `message` says the value and what was expected; `hint`
    names the nearest valid choice or the way out, and may be empty. Secrets in any of them are left out,
    whoever quotes them.
    """

    where: str
    message: str
    hint: str = ""

    def __post_init__(self) -> None:
        for name in ("where", "message", "hint"):
            object.__setattr__(self, name, scrub(getattr(self, name)))

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text} ({self.hint})" if self.hint else text


class WsssError(Exception):
    """Every error this package raises on purpose. `exit_code` is what the process ends with."""

    exit_code = 1

    def __init__(self, problems: str | Problem | Iterable[Problem], *, title: str = "") -> None:
        if isinstance(problems, str):
            problems = [Problem("", problems)]
        elif isinstance(problems, Problem):
            problems = [problems]
        self.problems: tuple[Problem, ...] = tuple(problems)
        self.title = title
        super().__init__(self._text())

    def _text(self) -> str:
        lines = [str(problem) for problem in self.problems]
        if not self.title:
            return "\n".join(lines)
        return "\n".join([f"{self.title}:", *(f"  {line}" for line in lines)])

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders (worker pools, Ray); the default recipe loses `title`.
        return _rebuild, (type(self), self.problems, self.title)


def _rebuild(kind: type[WsssError], problems: tuple[Problem, ...], title: str) -> WsssError:
    return kind(problems, title=title)


class ConfigError(WsssError):
    """The study file or the command line is wrong. Collects every problem of a file; never retried."""

    exit_code = 2


class DataError(WsssError):
    """Images, labels, masks or weights are wrong. Collects every problem found; never retried."""

    exit_code = 2


class StageError(WsssError):
    """A stage could not do its work (a loss that is not finite, a worker process that died)."""

    exit_code = 1


class PreflightError(WsssError):
    """The machine or the cluster can't do what the study asks for (GPUs, disk, storage)."""

    exit_code = 3


class StorageError(PreflightError):
    """The storage is full, read-only or away while a study runs. What was finished is kept."""


class TrackingError(WsssError):
    """The tracking server can't be used."""

    exit_code = 3


def nearest(word: str, choices: Sequence[str]) -> str:
    """Return a hint that names the choice most like `word`, or all of them when none is alike."""
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return "choose from " + ", ".join(choices) if choices else ""
