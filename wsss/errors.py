"""What can go wrong, as one small family of exceptions.

Each class says who has to act: the person who wrote the study file (`ConfigError`), the person
who owns the photos (`DataError`), the person who owns the machines (`PreflightError`,
`TrackingError`), or us (`StageError`). The command line turns the class into an exit code.
"""

from __future__ import annotations

import difflib
import itertools
import reprlib
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wsss.addresses import scrub

LONGEST = 3900
"""Bytes of an error's text, all of its problems together: what fits on a screen."""
LONGEST_PROBLEM = 900
"""Characters of one problem."""
TRACEBACK_VARIABLE = "WSSS_TRACEBACK"
"""Environment variable that makes the command line show where an error was raised."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    `where` names the file, line or key; `message` says the value and what was expected; `hint`
    names the nearest valid choice or the way out, and may be empty. Secrets are left out of all three.
    """

    where: str
    message: str
    hint: str = ""

    def __post_init__(self) -> None:
        for name in ("where", "message", "hint"):
            object.__setattr__(self, name, scrub(getattr(self, name)))

    def __str__(self) -> str:
        return self.text(LONGEST_PROBLEM)

    def text(self, most: int) -> str:
        """Return it in at most about `most` printable characters, each part shortened in its middle."""
        text = shortened(self.message, most * 2 // 3)
        if self.where:
            # The name of a file may hold ends of lines, which would look like another problem.
            where = shortened(self.where, most // 3).replace("\n", "\\n").replace("\t", "\\t")
            text = f"{where}: {text}"
        return f"{text} ({shortened(self.hint, most // 3)})" if self.hint else text


class WsssError(Exception):
    """Every error this package raises on purpose. `exit_code` is what the process ends with.

    `more` counts problems that were found beside those in `problems`. The text is printable and has at
    most `longest` bytes; `problems` has what it leaves out.
    """

    exit_code = 1
    longest = LONGEST

    def __init__(
        self, problems: str | Problem | Iterable[Problem], *, title: str = "", more: int = 0
    ) -> None:
        if isinstance(problems, str):
            problems = [Problem("", problems)]
        elif isinstance(problems, Problem):
            problems = [problems]
        self.problems: tuple[Problem, ...] = tuple(problems)
        self.title = title
        self.more = more
        super().__init__(self._text())

    def _text(self) -> str:
        indent = "  " if self.title else ""
        title = [f"{shortened(self.title, LONGEST_PROBLEM)}:"] if self.title else []
        longest = self.longest - sum(map(_size, title))
        each = max(LONGEST_PROBLEM, self.longest // 4)
        lines, left_out = bounded(self.problems, longest=longest, each=each, before=indent)
        if more := left_out + self.more:
            lines.append(f"{indent}… and {more} more problems")
        return "\n".join([*title, *lines])

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders (worker pools, Ray); the default recipe loses `title`.
        return _rebuild, (type(self), self.problems, self.title, self.more)


def _rebuild(kind: type[WsssError], problems: tuple[Problem, ...], title: str, more: int) -> WsssError:
    return kind(problems, title=title, more=more)


def bounded(
    problems: Sequence[Problem], *, longest: int = LONGEST, each: int = LONGEST_PROBLEM, before: str = ""
) -> tuple[list[str], int]:
    """Return a line for each of the first problems, at least one, and how many others there are.

    Args:
        problems: all of them.
        longest: bytes of all lines together.
        each: characters of a problem.
        before: what each line begins with.
    """
    lines: list[str] = []
    left = longest
    for problem in problems:
        line = f"{before}{problem.text(each)}"
        left -= _size(line) + 1
        if left < 0 and lines:
            break
        lines.append(line)
    return lines, len(problems) - len(lines)


def _size(text: str) -> int:
    return len(text.encode(errors="replace"))


class ConfigError(WsssError):
    """The study file or the command line is wrong. Collects every problem of a file; never retried."""

    exit_code = 2


class DataError(WsssError):
    """Images, labels, masks or weights are wrong. Collects every problem found; never retried."""

    exit_code = 2


class StageError(WsssError):
    """A stage could not do its work (a loss that is not finite, a worker process that died)."""

    exit_code = 1
    longest = 16_000
    """It may hold the traceback of another process."""


class PreflightError(WsssError):
    """The machine or the cluster can't do what the study asks for (GPUs, disk, storage)."""

    exit_code = 3


class StorageError(PreflightError):
    """The storage is full, read-only or away while a study runs. What was finished is kept."""


class TrackingError(WsssError):
    """The tracking server can't be used."""

    exit_code = 3


def unexpected(error: BaseException) -> str:
    """Return one line on an error that nobody foresaw: what, where, and how to see and report it."""
    frames = [(f.f_globals.get("__name__", ""), line) for f, line in traceback.walk_tb(error.__traceback__)]
    own = [frame for frame in frames if str(frame[0]).startswith("wsss.")] or frames
    place = f" in {own[-1][0]}, line {own[-1][1]}" if own else ""
    what = shortened(f"{type(error).__name__}: {error}", LONGEST_PROBLEM // 2)
    hint = f"a fault of wsss itself; {TRACEBACK_VARIABLE}=1 shows the traceback, which belongs into a report"
    return f"{what}{place} ({hint})"


def first_line(error: BaseException, most: int = 300) -> str:
    """Return the first line of an error's text, or its kind where it has none: libraries write pages."""
    return scrub((str(error).splitlines() or [type(error).__name__])[0])[:most]


def shortened(text: str, most: int = 60) -> str:
    """Return a text in printable characters (and line ends), about `most` of them: its middle is left out."""
    if len(text) > most:
        text = f"{text[: most * 2 // 3]}…{text[-(most // 3) :]}"
    if text.isprintable():
        return text
    # A terminal obeys control characters, and nothing can print half a surrogate pair.
    text = "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)
    return text if len(text) <= 2 * most else f"{text[:most]}…"


class _Quoting(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 3, 70, 70
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = 6

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write numbers of more than 4,300 digits.
        return repr(x) if abs(x) < 10**60 else f"a number of about {int(x.bit_length() * 0.30103)} digits"


_QUOTING = _Quoting()


def quoted(value: object, most: int = 80) -> str:
    """Return a value as messages quote it: as Python writes it, on one line, in at most `most` characters."""
    return shortened(_QUOTING.repr(value), most)


CUTOFF = 0.6
"""Likeness from which a name is taken for a misspelt one."""
MOST_CHOICES, MOST_WORK, LONGEST_LIST = 5_000, 200_000, 260
"""The most choices and comparisons that `nearest` makes, and the most letters of a list that it gives."""


def nearest(word: object, choices: Iterable[object]) -> str:
    """Return a hint that names the choice most like `word`, or all of them when none is alike."""
    written = str(word)[:60] if isinstance(word, str | int | float) else ""
    names = [name for name in itertools.islice(choices, MOST_CHOICES) if isinstance(name, str)]
    close = _closest(written, names)
    if close is not None:
        return f"did you mean {quoted(close)}?{_foreign_letters(written, close)}"
    listed: list[str] = []
    left = LONGEST_LIST
    for name in names:
        left -= len(name) + 2
        if left < 0 and listed:
            break
        listed.append(shortened(name))
    more = f", … ({len(names) - len(listed)} more)" if len(names) > len(listed) else ""
    return f"choose from {', '.join(listed)}{more}" if names else ""


def _closest(word: str, names: Sequence[str]) -> str | None:
    """Return the name that `difflib.get_close_matches` would, within a bounded amount of work."""
    if twin := next((name for name in names if name.casefold() == word.casefold()), ""):
        return twin
    matcher = difflib.SequenceMatcher(b=word)
    best, left = (CUTOFF, ""), MOST_WORK
    for name in names:
        if len(name) > 200:
            continue
        matcher.set_seq1(name)
        if matcher.real_quick_ratio() < best[0] or matcher.quick_ratio() < best[0]:
            continue
        left -= len(word) * len(name)
        if left < 0:
            break
        best = max(best, (matcher.ratio(), name))
    return best[1] or None


def _foreign_letters(word: str, choice: str) -> str:
    """Say which letters only look like those of the choice: a Cyrillic а is no a."""
    foreign = dict.fromkeys(c for c in word if not c.isascii() and c not in choice)
    named = [f"{c if c.isprintable() else ascii(c)[1:-1]!r} is U+{ord(c):04X}" for c in foreign]
    return f" {', '.join(named[:3])}" if named and choice.isascii() else ""
