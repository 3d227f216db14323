"""Text files that people write by hand or export: lists, names of classes, tables of labels.

Spreadsheets and file systems disagree on byte order marks, line ends, blanks and on how an accent is
stored; two texts that look the same are the same here.
"""

from __future__ import annotations

import reprlib
import stat
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from wsss.data.pictures.opening import read_bytes
from wsss.errors import DataError, Problem, nearest

MOST_BYTES = 256 * 2**20
MOST_LISTED = 50
"""Problems of one file that are listed; the others are counted."""
MOST_NAMED = 20
"""Names that a hint lists."""
MARKS = (
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
INVISIBLE = dict.fromkeys(
    (0xAD, 0x200B, 0x200E, 0x200F, 0xFEFF, *range(0x202A, 0x202F), *range(0x2060, 0x206A))
)
"""Characters without a look of their own. Joiners (U+200C, U+200D) change their neighbours, and stay."""

_quoting = reprlib.Repr()
_quoting.maxstring = _quoting.maxother = 60
_quoting.maxlevel, _quoting.maxlist, _quoting.maxdict = 2, 3, 3


def quote(value: object) -> str:
    """Return a value as messages quote it: escaped, and cut in its middle when it is long."""
    return _quoting.repr(value)


def read_small(path: Path) -> bytes:
    """Return the bytes of a regular file of at most `MOST_BYTES`. Raises `DataError` for anything else."""
    try:
        facts = path.stat()
    except OSError:
        return read_bytes(path)  # which says what is wrong with it
    if not stat.S_ISREG(facts.st_mode):  # a pipe would be waited for, a device read for ever
        raise DataError(Problem(str(path), "is no regular file"))
    if facts.st_size > MOST_BYTES:
        message = f"is {facts.st_size / 2**20:,.0f} MiB long, but must be at most {MOST_BYTES // 2**20}"
        raise DataError(Problem(str(path), message))
    return read_bytes(path)


def read_text(path: Path) -> str:
    """Return a file's text with "\\n" between its lines: UTF-8, or what its byte order mark says.

    Raises `DataError` for other encodings and for NUL characters, with the line.
    """
    content = read_small(path)
    encoding = next((name for mark, name in MARKS if content.startswith(mark)), "utf-8-sig")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        what = "UTF-8" if encoding == "utf-8-sig" else f"{encoding.upper()}, as its first bytes say"
        raise DataError(Problem(f"{path}:{line}", f"is not {what}", "save it as UTF-8")) from error
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(Problem(f"{path}:{line}", "holds NUL characters", "save it as text in UTF-8"))
    return text


def tidy(text: str) -> str:
    """Return what is seen of a text: accents in composed form (NFC), nothing invisible, single blanks."""
    if text.isascii():
        return " ".join(text.split())
    text = unicodedata.normalize("NFC", text.translate(INVISIBLE))
    return " ".join(text.split()).strip("\u200c\u200d ")


def composed(text: str) -> str:
    """Return a file's name with its accents in composed form (NFC): macOS stores them in the other one."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def numbered_lines(path: Path) -> list[tuple[int, str]]:
    """Return a text file's lines, tidy, with their numbers from 1, without blank ones.

    Raises `DataError` when it can't be read as text.
    """
    lines = ((number, tidy(line)) for number, line in enumerate(read_text(path).split("\n"), 1))
    return [(number, line) for number, line in lines if line]


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file without blank ones. Raises `DataError` when it can't be read."""
    return [line for _, line in numbered_lines(path)]


def capped(problems: Sequence[Problem], where: str = "") -> list[Problem]:
    """Return the first problems, and how many more there are."""
    more = len(problems) - MOST_LISTED
    return [*problems[:MOST_LISTED], *([Problem(where, f"and {more} more problems")] if more > 0 else [])]


def nearest_name(word: str, choices: Iterable[str]) -> str:
    """Return a hint that names the choice most like `word`, capitals aside, or the first of them."""
    choices = tuple(choices)
    twins = [name for name in choices if name.casefold() == word.casefold()]
    if twins:
        return f"did you mean {twins[0]!r}?"
    hint = nearest(word[:100], choices)
    if hint.startswith("did you mean") or len(choices) <= MOST_NAMED:
        return hint
    return f"choose from {', '.join(choices[:MOST_NAMED])}, … ({len(choices)} in all)"
