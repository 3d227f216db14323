"""Fingerprints of photos and masks, taken while each is decoded in full, once.

A photo that can't be decoded should be found before training, not in its third hour; and what an
artefact was made from is known by content, not by path. What was found is remembered by path, size
and modification time. Imports no torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from wsss.data.decode import decode_mask, decode_photo, read_bytes
from wsss.data.pool import Progress, map_files
from wsss.errors import DataError, Problem
from wsss.files import read_json, write_json

VERSION = 1
Kind = Literal["photo", "mask"]
Stamp = tuple[int, int]


@dataclass(frozen=True)
class Fingerprint:
    """`sha256` of the file's bytes, `size` as (width, height); `ids` that occur in a mask."""

    sha256: str
    size: tuple[int, int]
    ids: tuple[int, ...] = ()


def inspect(task: tuple[Kind, Path]) -> Fingerprint | tuple[Problem, ...]:
    """Decode one file in full and return its fingerprint, or what is wrong with it."""
    kind, path = task
    try:
        content = read_bytes(path)
        digest = hashlib.sha256(content).hexdigest()
        if kind == "photo":
            return Fingerprint(digest, decode_photo(content, path).size)
        mask = decode_mask(content, path)
    except DataError as error:
        return error.problems
    ids = np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
    return Fingerprint(digest, (mask.shape[1], mask.shape[0]), tuple(int(id) for id in ids))


class Fingerprints:
    """The fingerprints of one data set's files, remembered in one JSON file (nowhere when None).

    The file is a convenience: it is replaced as a whole, and when two processes write at once the
    later one keeps what it knew of. A file that changed since is looked at again.
    """

    def __init__(self, memory: Path | None) -> None:
        self._memory = memory
        self._known: dict[tuple[Kind, str], Fingerprint] = {}

    def take(
        self, kind: Kind, paths: Iterable[Path], *, workers: int = 1, progress: Progress | None = None
    ) -> tuple[dict[Path, Fingerprint], list[Problem]]:
        """Return path → fingerprint of the files that are whole, and the problems of the others."""
        paths = list(dict.fromkeys(paths))
        problems: list[Problem] = []
        unknown = [path for path in paths if (kind, str(path)) not in self._known]
        if unknown:
            problems = self._look(kind, unknown, workers, progress)
        found = {path: self._known.get((kind, str(path))) for path in paths}
        return {path: print_ for path, print_ in found.items() if print_}, problems

    def _look(self, kind: Kind, paths: list[Path], workers: int, progress: Progress | None) -> list[Problem]:
        remembered = self._recall(kind)
        stamps = {path: _stamp(path) for path in paths}
        fresh: dict[Path, Fingerprint] = {}
        problems: list[Problem] = []
        todo = []
        for path in paths:
            stamp, print_ = remembered.get(str(path), (None, None))
            if print_ is not None and stamp == stamps[path]:
                self._known[kind, str(path)] = print_
            else:
                todo.append(path)
        try:
            results = map_files(inspect, [(kind, path) for path in todo], workers=workers, progress=progress)
            for path, result in zip(todo, results, strict=True):
                if isinstance(result, Fingerprint):
                    fresh[path] = self._known[kind, str(path)] = result
                else:
                    problems += result
        finally:  # an interrupted look need not begin again
            self._remember(kind, {path: (stamps[path], print_) for path, print_ in fresh.items()})
        return problems

    def _recall(self, kind: Kind) -> dict[str, tuple[Stamp, Fingerprint]]:
        content = read_json(self._memory) if self._memory else None
        if not isinstance(content, dict) or content.get("version") != VERSION:
            return {}
        entries: dict[str, list[Any]] = content.get(kind, {})
        return {
            path: ((size, time), Fingerprint(digest, (width, height), tuple(ids)))
            for path, (size, time, digest, width, height, ids) in entries.items()
        }

    def _remember(self, kind: Kind, fresh: dict[Path, tuple[Stamp | None, Fingerprint]]) -> None:
        if not self._memory or not fresh:
            return
        content = read_json(self._memory)
        if not isinstance(content, dict) or content.get("version") != VERSION:
            content = {"version": VERSION}
        entries = content.setdefault(kind, {})
        for path, (stamp, print_) in fresh.items():
            if stamp:
                entries[str(path)] = [*stamp, print_.sha256, *print_.size, list(print_.ids)]
        write_json(self._memory, content)


def _stamp(path: Path) -> Stamp | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns


def size_problems(
    pairs: Iterable[tuple[Path, Path]], prints: Callable[[Path], Fingerprint | None]
) -> list[Problem]:
    """Return the (photo, mask) pairs whose sizes differ, as far as both are known."""
    problems = []
    for photo, mask in pairs:
        one, other = prints(photo), prints(mask)
        if one and other and one.size != other.size:
            problems.append(Problem(str(mask), size_message("mask", other.size, one.size)))
    return problems


def size_message(what: str, size: tuple[int, int], photo: tuple[int, int]) -> str:
    return f"{what} is {size[0]} x {size[1]}, but must be {photo[0]} x {photo[1]} like its photo"
