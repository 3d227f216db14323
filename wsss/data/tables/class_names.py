"""What may be a class's name, wherever it is written: `classes.txt`, tables of labels, study files."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from wsss.data.tables.text import capped, nearest_name, numbered_lines, quote, tidy
from wsss.errors import DataError, Problem

MOST_CLASSES = 254
"""Ids in masks are 1 to 254: 0 is background, 255 is ignored."""
LONGEST = 100
SEPARATORS = ",;|"
NO_VALUES = frozenset(
    (
        *("nan", "-nan", "none", "null", "nil", "na", "n/a", "n.a.", "n.a", "undefined", "missing"),
        *("#n/a", "#na", "<na>", "<null>", "<none>", "#value!", "#ref!", "#name?", "#div/0!"),
    )
)
"""What programs write where there is nothing."""
NO_CLASSES = frozenset(
    (
        *("background", "backgrounds", "backgroundclass", "bg", "void", "noclass", "nolabel"),
        *("ignore", "ignored", "ignoreclass", "ignorelabel", "ignoreregion", "dontcare", "donotcare"),
        *("unlabeled", "unlabelled", "unlabel"),
    )
)
"""What masks have ids for without its being a class; letters alone, in small ones."""
DOUBTFUL = frozenset(
    (
        *("unknown", "unk", "unidentified", "unspecified", "unsure", "uncertain", "notsure", "tbd", "todo"),
        *("other", "others", "misc", "miscellaneous", "rest", "negative", "nothing", "empty", "blank"),
        *("noobject", "noobjects", "notavailable", "notlabeled", "notlabelled", "notapplicable"),
        *("noneofthem", "noneofthese", "noneoftheabove", "yes", "no", "true", "false"),
        *("label", "labels", "class", "classes", "category"),
    )
)
"""What may be a class, but more often says that there is none; letters alone, in small ones."""
EMPTY_HINT = "an image that shows no class has an empty cell, or [] in JSON"


def is_no_value(word: str) -> bool:
    """Whether a word stands for nothing (nan, None, n/a, -, ?), in any capitals."""
    letters = any(unicodedata.category(c)[0] in "LN" or unicodedata.category(c) == "So" for c in word)
    return word.casefold() in NO_VALUES or not letters


def is_no_class(name: str) -> bool:
    """Whether a name is background's or ignored pixels', with any capitals, digits and underscores."""
    return "".join(c for c in name.casefold() if c.isalpha()) in NO_CLASSES


def is_doubtful(name: str) -> bool:
    """Whether a class's name is a number, or a word that more often says that nothing is there."""
    try:
        float(name)
    except ValueError:
        letters = "".join(c for c in name.casefold() if c.isalpha())
        pictured = any(unicodedata.category(c) == "So" for c in name)
        return letters in DOUBTFUL or not (letters or pictured)
    return True


def class_name_problem(name: str) -> tuple[str, str] | None:
    """Return message and hint when a tidy text can't be one class's name."""
    if is_no_value(name):
        return f"class is {quote(name)}, which is no name", ""
    if is_no_class(name):
        hint = "leave it out: id 0 is background already, and id 255 is ignored"
        return f"class is {quote(name)}, but the classes must be foreground classes only", hint
    if _has_control(name):
        return f"class is {quote(name)}, which holds control characters", ""
    if _has_marks(name):
        inner = tidy(name.strip("[](){}<>\"'`“”‘’«» "))
        hint = f"write {inner}" if inner and not _has_marks(inner) else ""
        return f"class is {quote(name)}, but must be a name without brackets and quotes", hint
    if comment := re.search(r"\s#(?!\d)", name):
        hint = f"comments aren't read: write {name[: comment.start()]}"
        return f"class is {quote(name)}, but must be a name without a comment", hint
    if len(name) > LONGEST:
        return f"class is {quote(name)}, {len(name):,} characters, but must be at most {LONGEST} long", ""
    return None


def _has_control(text: str) -> bool:
    return any(unicodedata.category(c) in ("Cc", "Cs") for c in text)


def _has_marks(name: str) -> bool:
    """Whether there are brackets or quotes, but for those inside of "mouse (animal)" and "crow's nest"."""
    depth = 0
    for character in name:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0:
            return True
    marks = any(character in '[]{}<>"`“”«»' for character in name)
    return marks or depth != 0 or name[0] in "('‘’" or name[-1] in "'‘"


def split_labels(cell: str) -> tuple[list[str], tuple[str, str] | None]:
    """Return the names in a cell, separated by , ; or |, and message and hint when it can't be read."""
    if "\n" in cell.strip():
        return [], (f"label is {quote(cell)}, which holds a line break", "is a quote left open?")
    cell = tidy(cell)
    if _has_control(cell):
        return [], (f"label is {quote(cell)}, which holds control characters", "")
    if cell and is_no_value(cell) and not set(cell) & set("[]{}()"):
        return [], (f"label is {quote(cell)}, which is no class's name", EMPTY_HINT)
    if any(character in cell for character in '[]{}"') or (cell and cell[0] in "('`"):
        inner = [tidy(part.strip("[](){}\"'` ")) for part in re.split(f"[{SEPARATORS}]", cell)]
        names = [name for name in inner if name and not class_name_problem(name)]
        hint = f"write {quote(';'.join(names))[1:-1]}" if names else EMPTY_HINT
        if "{" in cell and ":" in cell:
            hint = "write the names of what the image shows, cat;dog"
        return [], (f"label is {quote(cell)}, but must be names without brackets and quotes", hint)
    words = [word for word in map(tidy, re.split(f"[{SEPARATORS}]", cell)) if word]
    for word in words:
        if is_no_value(word):
            return [], (f"label is {quote(word)}, which is no class's name", EMPTY_HINT)
        if found := class_name_problem(word):
            return [], found
    return words, None


def class_name_problems(
    names: Sequence[str], where: str, places: Sequence[str] = (), *, implied: bool = False
) -> list[Problem]:
    """Return what is wrong with the names of a data set's classes.

    Args:
        names: the classes in order, as `tidy` leaves them.
        where: the file or key that names them.
        places: where each of them stands, file and line; by default all of them at `where`.
        implied: whether they are what occurs in a column of labels instead of a list, so that a slip of the
            pen would become a class.
    """
    if not 1 <= len(names) <= MOST_CLASSES:
        return [Problem(where, f"names {len(names):,} classes, but must name 1 to {MOST_CLASSES}")]
    places = places or [where] * len(names)
    problems = []
    first: dict[str, int] = {}
    for index, (name, place) in enumerate(zip(names, places, strict=True)):
        if found := class_name_problem(name):
            problems.append(Problem(place, *found))
        other = first.setdefault(_key(name, implied), index)
        if other == index:
            continue
        if names[other] == name:
            problems.append(Problem(place, f"class {name!r} occurs twice", _line(places[other], where)))
        else:
            how = "capitals" if names[other].casefold() == name.casefold() else "blanks or hyphens"
            message = f"class {name!r} differs from {names[other]!r} in {how} only"
            problems.append(
                Problem(place, message, f"{_line(places[other], where)}: write both the same way")
            )
    if implied:
        problems += _several_in_one(names, places, where)
    return capped(problems, where)


def _key(name: str, implied: bool) -> str:
    return re.sub(r"[\s_-]+", "", name.casefold()) if implied else name.casefold()


def _line(place: str, where: str) -> str:
    """Return a place in short when it lies in the same file."""
    return f"line {rest}" if (rest := place.removeprefix(f"{where}:")) != place else place


def _several_in_one(names: Sequence[str], places: Sequence[str], where: str) -> list[Problem]:
    """Return the classes that are others with a blank, a slash or the like between."""
    problems = []
    known = {name.casefold(): index for index, name in enumerate(names)}
    words: dict[tuple[str, ...], int] = {}
    for index, name in enumerate(names):
        parts = several_in(name, known)
        again = words.setdefault(tuple(sorted(name.casefold().split())), index) if " " in name else index
        if parts:
            shown = " and ".join(f"{names[known[p]]!r} ({_line(places[known[p]], where)})" for p in parts)
            message = f"class {name!r} is made of {shown}, which are classes"
        elif again != index:
            message = f"class {name!r} has the words of {names[again]!r} ({_line(places[again], where)})"
        else:
            continue
        hint = f"separate labels by ';'; if it is a class of its own, write classes.txt, {len(names)} lines"
        problems.append(Problem(places[index], message, hint))
    return problems


def several_in(name: str, known: Iterable[str]) -> list[str]:
    """Return the known names, in small letters, that a name is made of; none when it is a single one."""
    known = {other.casefold() for other in known}
    parts: list[str] = []
    words = [word for word in re.split(r"[\s/+&:_.\-]+", name.casefold()) if word not in ("", "and")]
    while words:  # the longest known name first, as "traffic light dog" is two
        length = next((n for n in range(min(len(words), 6), 0, -1) if " ".join(words[:n]) in known), 0)
        if not length or (length == len(words) and not parts):
            length = next(
                (n for n in range(min(len(words), 6) - 1, 0, -1) if " ".join(words[:n]) in known), 0
            )
        if not length:
            return []
        parts.append(" ".join(words[:length]))
        words = words[length:]
    return list(dict.fromkeys(parts)) if len(parts) > 1 else []


def read_class_names(path: Path) -> tuple[str, ...]:
    """Return the classes of a `classes.txt`: line k names mask id k.

    Raises one `DataError` of all problems.
    """
    lines = numbered_lines(path)
    names = [line for _, line in lines]
    places = [f"{path}:{number}" for number, _ in lines]
    problems = []
    if gap := next((k for k, (number, _) in enumerate(lines, 1) if number != k), 0):
        message = "is blank, but line k names mask id k"
        problems.append(Problem(f"{path}:{gap}", message, "take blank lines out, if the ids are meant so"))
    if comment := next((place for place, name in zip(places, names, strict=True) if name[0] == "#"), ""):
        problems.append(Problem(comment, "is a comment, but line k names mask id k", "take comments out"))
    elif _are_numbered(names):
        problems.append(Problem(places[0], f"is {quote(names[0])}, but must be a name without its number"))
    elif len(names) == 1 and any(separator in names[0] for separator in SEPARATORS):
        problems.append(Problem(places[0], f"is {quote(names[0])}, but must name one class a line"))
    else:
        problems += class_name_problems(names, str(path), places)
    if problems:
        raise DataError(problems)
    return tuple(names)


def _are_numbered(names: Sequence[str]) -> bool:
    found = [re.match(r"(\d{1,4})[\s:=.,;)-]\s*\S", name) for name in names]
    numbers = [int(match[1]) for match in found if match]
    return len(names) > 1 and numbers in (list(range(len(names))), list(range(1, len(names) + 1)))


def unknown_class(where: str, name: str, known: Sequence[str], of: str = "the data set's") -> Problem:
    """Return the problem of a class that is not one of those known, with the nearest.

    Args:
        where: the file and line, or the key.
        name: as written.
        known: the classes that it could be.
        of: whose classes those are.
    """
    parts = several_in(name, known)
    if is_no_class(name):
        hint = "leave it out: id 0 is background already, and id 255 is ignored"
    elif parts:
        hint = f"did you mean {quote(';'.join(parts))}?"
    else:
        hint = nearest_name(name, known)
    return Problem(where, f"class is {quote(name)}, but must be one of {of}", hint)
