"""The same photo under two names, in lists that must not share any: it would choose, and be reported.

Identical files are twins. A copy that was resized, saved again or lightly brightened has other bytes; its
photo looks like it, which is warned of.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from wsss.data.pictures.fingerprint import Fingerprint
from wsss.data.pictures.looks import look_alikes, telling_cells
from wsss.errors import Problem

APART = {
    "test": ("train", "holdout", "select", "report", "teach"),
    "report": ("select", "teach"),
    "select": ("teach",),
}
"""Lists that must not share photos; `train` and `report` may, by the protocol of the field."""
ALLOWS = {"test": "train_on_test", "report": "select_on_report"}
FEW = 0.01
"""Share of a list up to which twins are warned of: large public sets have some."""
SAME, ALIKE = "are in `{}` too, under other names", "look like one in `{}`"
HINT = "delete one of each"
LOOK_HINT = "look at them, and delete one of each if they are copies"

Pairs = Sequence[tuple[str, str]]
_Some = npt.NDArray[np.bool_]
"""Which photos of all, bool[N]."""


def find_twins(
    lists: Mapping[str, Sequence[str]], prints: Mapping[str, Fingerprint], allow: Sequence[str], where: str
) -> tuple[list[Problem], list[Problem]]:
    """Return what is wrong with lists, and what may be: photos that are in two of them, with other ids.

    Args:
        lists: name → ids.
        prints: id → fingerprint of its photo.
        allow: what the study allows itself.
        where: what messages call the data set.
    """
    photos = _Photos(prints)
    problems: list[Problem] = []
    warnings: list[Problem] = []
    for name, others in APART.items():
        for other in others:
            if name not in lists or other not in lists or ALLOWS.get(name) in allow:
                continue
            hint = HINT
            if name in ALLOWS:
                hint += f", or say `data.allow: [{ALLOWS[name]}]`, which stands below every table"
            same, alike = photos.pairs(*_in_one_of(lists[name], lists[other]))
            count = len(lists[name])
            (warnings if len(same) <= FEW * count else problems).extend(
                _shared(same, count, name, SAME.format(other), where, hint)
            )
            warnings += _shared(alike, count, name, ALIKE.format(other), where, LOOK_HINT)
    return problems, warnings


def twins_of_lists(
    lists: Mapping[str, Sequence[str]], prints: Mapping[str, Fingerprint], where: str
) -> list[Problem]:
    """Return warnings of photos that stand in any two lists under other names.

    Photos that both lists name are left out: a list may hold another, as `trainval` holds `train`.

    Args:
        lists: name → ids.
        prints: id → fingerprint of its photo.
        where: what messages call the data set.
    """
    photos = _Photos(prints)
    ids = sorted({id for listed in lists.values() for id in listed})
    named = {name: np.isin(ids, listed) for name, listed in lists.items()}
    warnings: list[Problem] = []
    compared: list[tuple[_Some, _Some]] = []
    for other, name in itertools.combinations(sorted(lists, key=lambda name: -len(lists[name])), 2):
        mine, theirs = named[name] & ~named[other], named[other] & ~named[name]
        if any(_hold(pair, (mine, theirs)) or _hold(pair, (theirs, mine)) for pair in compared):
            continue
        compared.append((mine, theirs))
        same, alike = photos.pairs(
            *([ids[place] for place in np.flatnonzero(some)] for some in (mine, theirs))
        )
        count = len(lists[name])
        warnings += _shared(same, count, name, SAME.format(other), where, HINT)
        warnings += _shared(alike, count, name, ALIKE.format(other), where, LOOK_HINT)
    return warnings


def _hold(pair: tuple[_Some, _Some], parts: tuple[_Some, _Some]) -> bool:
    """Whether all photos of two parts of lists were compared already, as those of a pair."""
    return not any((part & ~whole).any() for whole, part in zip(pair, parts, strict=True))


def contradictions(
    prints: Mapping[str, Fingerprint], labels: Callable[[str], Sequence[str] | None], where: str
) -> list[Problem]:
    """Return a warning of identical photos, under two names, whose labels differ.

    Args:
        prints: id → fingerprint of its photo.
        labels: returns the classes of an id, None where they are not known.
        where: what messages call the data set.
    """
    ids_of: dict[str, list[str]] = {}
    for id, found in prints.items():
        ids_of.setdefault(found.sha256, []).append(id)
    example, count = "", 0
    for ids in ids_of.values():
        known = {id: names for id in ids if (names := labels(id)) is not None} if len(ids) > 1 else {}
        if len({tuple(names) for names in known.values()}) < 2:
            continue
        count += 1
        first, *others = known
        other = next(id for id in others if known[id] != known[first])
        shown = (f"{id} ({', '.join(known[id]) or 'no class'})" for id in (first, other))
        example = example or " and ".join(shown)
    if not count:
        return []
    message = f"{count} photo{'s' * (count != 1)} stand{'s' * (count == 1)} under several names"
    return [Problem(where, f"{message} whose labels differ, such as {example}", "keep the one that is right")]


class _Photos:
    def __init__(self, prints: Mapping[str, Fingerprint]) -> None:
        self._prints = prints
        self._cells = telling_cells([found.look for found in prints.values()])

    def pairs(self, mine: Sequence[str], theirs: Sequence[str]) -> tuple[Pairs, Pairs]:
        """Return photos of `mine`, each with the first of `theirs` that is the same file; of the others
        those that look like one, each with the first such."""
        first = {self._prints[id].sha256: id for id in reversed(theirs)}
        digests = {id: self._prints[id].sha256 for id in mine}
        same = [(id, first[digest]) for id, digest in digests.items() if digest in first]
        rest = [id for id, digest in digests.items() if digest not in first]
        alike = look_alikes(self._looks(rest), self._looks(theirs), self._cells)
        return same, [(rest[one], theirs[two]) for one, two in alike]

    def _looks(self, ids: Sequence[str]) -> list[str]:
        return [self._prints[id].look for id in ids]


def _in_one_of(mine: Sequence[str], theirs: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the ids of each of two lists that the other doesn't name, in their order."""
    both = {*mine} & {*theirs}
    return [id for id in mine if id not in both], [id for id in theirs if id not in both]


def _shared(pairs: Pairs, count: int, name: str, told: str, where: str, hint: str) -> list[Problem]:
    """Return what to say of pairs of photos, whose first ones are of list `name`, which has `count`."""
    if not pairs:
        return []
    message = f"{len(pairs)} of {count} `{name}` photos {told}, such as {pairs[0][0]} and {pairs[0][1]}"
    return [Problem(where, message, hint)]
