"""Which images train, which choose, which are reported: halves and hold-out by hash, never by position.

The digest of an id decides, not its place in a list, so that halves agree between studies and a list
that grows moves no image from one side to the other.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from wsss.errors import DataError, Problem

if TYPE_CHECKING:
    from wsss.config import DataSpec

Ids = tuple[str, ...]


def _digest(id: str) -> bytes:
    return hashlib.sha256(id.encode()).digest()


def half_of(id: str) -> Literal["a", "b"]:
    """Return an image's half: the lowest bit of the first byte of its id's SHA-256 (0 is a)."""
    return "b" if _digest(id)[0] & 1 else "a"


def is_held_out(id: str, share: float) -> bool:
    """Return whether the second byte of the id's SHA-256, over 256, lies below `share` in [0, 1]."""
    return _digest(id)[1] / 256 < share


def first_by_hash(ids: Iterable[str], limit: int | None) -> Ids:
    """Return the `limit` ids with the smallest SHA-256 (all when None), in alphabetical order."""
    return tuple(sorted(sorted(ids, key=_digest)[:limit]))


def drawn_in_turn(ids: Sequence[str], classes: Sequence[Sequence[int]], count: int, seed: int) -> Ids:
    """Return `count` images, drawn at random in turn for each class: of equal seeds fewer are among more.

    Every class in turn takes the first image, by the SHA-256 of seed and id, that shows it and that no class
    has taken; where none does, images that show no class follow. All images where there are no more.

    Args:
        ids: the images to draw from.
        classes: of each image, the numbers of the classes that it shows.
        count: how many to draw.
        seed: another one draws others.

    Examples:
        >>> drawn_in_turn(["a", "b", "c"], [[0], [0], [1]], 2, seed=0)
        ('a', 'c')
    """
    order = sorted(range(len(ids)), key=lambda number: _digest(f"{seed}:{ids[number]}"))
    known = sorted({number for shown in classes for number in shown})
    queues = [[number for number in order if wanted in classes[number]] for wanted in known]
    queues.append([number for number in order if not classes[number]])
    taken: dict[int, None] = {}
    for queue in itertools.cycle(queues):
        if len(taken) >= min(count, len(ids)):
            break
        free = next((number for number in queue if number not in taken), None)
        if free is not None:
            taken[free] = None
    return tuple(ids[number] for number in taken)


@dataclass(frozen=True)
class Splits:
    """Ids by purpose, each in alphabetical order. See `build_splits`."""

    train: Ids
    holdout: Ids
    select: Ids
    report: Ids
    test: Ids
    teach: Ids = ()

    @property
    def all_ids(self) -> Ids:
        return tuple(sorted({*self.labelled_ids, *self.test}))

    @property
    def labelled_ids(self) -> Ids:
        """The ids whose image-level labels are read."""
        return tuple(sorted({*self.train, *self.holdout, *self.select, *self.report, *self.teach}))

    @property
    def masked_ids(self) -> Ids:
        """The ids whose masks are read."""
        return tuple(sorted({*self.select, *self.report, *self.test, *self.teach}))


def build_splits(spec: DataSpec, read: Callable[[str], Iterable[str]]) -> Splits:
    """Return the images of each purpose; `read` gives the ids of a named list.

    The hold-out is taken out of `train`; `limit` then shortens each part to its first ids by hash.
    Raises one `DataError` when a part is empty, when `select` and `report` share an image (a choice
    would be made on what is reported), or when `test` shares one with any image that is trained on
    or chosen with. `spec.allow` may permit either. Data without masks to score with have
    no `select`, `report` and `test`. Images of `teach`, whose masks may be learnt from, leave all three.
    """
    listed = set(read(spec.train))
    holdout = {id for id in listed if is_held_out(id, spec.holdout)}
    scored = spec.scored
    teach = _part(read(spec.teach.split), spec.teach.half) if spec.teach else set()
    select = _part(read(spec.select.split), spec.select.half) - teach if scored else set()
    report = _part(read(spec.report.split), spec.report.half) - teach if scored else set()
    test = _part(read(spec.test.split), spec.test.half) - teach if spec.test and scored else set()
    problems = [
        Problem(f"data.{name}", f"no image is left in {where}", "another list, half, class or hold-out")
        for name, ids, where in (
            ("train", listed - holdout, spec.train),
            ("select", select, spec.select.split),
            ("report", report, spec.report.split),
            ("test", test if spec.test else {""}, spec.test.split if spec.test else ""),
            ("teach", teach if spec.teach else {""}, spec.teach.split if spec.teach else ""),
        )
        if not ids and (scored or name in ("train", "teach"))
    ]
    if not scored and spec.holdout and not holdout:
        message = f"is {spec.holdout:g}, but by their hashes none of {len(listed)} images falls into it"
        problems.append(Problem("data.holdout", message, "say a larger share, or 0 for no hold-out"))
    if "select_on_report" not in spec.allow:
        problems += _overlap("select", select, "report", report)
        problems += _overlap("test", test, "select", select)
    if "train_on_test" not in spec.allow:
        problems += _overlap("test", test, "train", listed)
    if problems:
        raise DataError(problems)
    return Splits(
        train=first_by_hash(listed - holdout, spec.limit),
        holdout=first_by_hash(holdout, spec.limit),
        select=first_by_hash(select, spec.limit),
        report=first_by_hash(report, spec.limit),
        test=first_by_hash(test, spec.limit),
        teach=first_by_hash(teach, spec.limit),
    )


def _part(ids: Iterable[str], half: Literal["a", "b"] | None) -> set[str]:
    return {id for id in ids if half is None or half_of(id) == half}


def _overlap(name: str, ids: set[str], other: str, others: set[str]) -> list[Problem]:
    shared = sorted(ids & others)
    if not shared:
        return []
    message = f"shares {len(shared)} images with `{other}`, {shared[0]} for one, but must share none"
    return [Problem(f"data.{name}", message, "choose other lists, or half a and half b of one list")]
