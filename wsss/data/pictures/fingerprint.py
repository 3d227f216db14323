"""Fingerprints of photos and masks, taken while each is decoded in full, once.

A photo that can't be decoded should be found before training, not in its third hour; and what an
artefact was made from is known by content, not by path. What was found is remembered by path, size
and modification time. Imports no torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, OnErrorOmit, TypeAdapter, ValidationError

from wsss.data.pictures.decode import decode_mask, ids_in, open_photo
from wsss.data.pictures.looks import LOOK, look_of
from wsss.data.pictures.opening import read_bytes
from wsss.data.pictures.sizes import WORKING_PIXELS, working_size
from wsss.data.pool import Progress, map_files
from wsss.errors import DataError, Problem
from wsss.files import read_json, stamp_of, with_checksum, without_checksum, write_atomic

VERSION = 4
"""Raised when files that were sound are so no longer, or more is remembered of them."""
Kind = Literal["photo", "mask", "file"]
File = tuple[Kind, Path]
Stamp = tuple[int, int]
_Count = Annotated[int, Field(ge=0, strict=True)]
_Line = tuple[
    _Count,
    Annotated[int, Field(strict=True)],
    Annotated[str, Field(pattern="^[0-9a-f]{64}$", strict=True)],
    _Count,
    _Count,
    list[Annotated[int, Field(ge=0, le=255, strict=True)]],
    Annotated[bool, Field(strict=True)],
    Annotated[str, Field(pattern=LOOK, strict=True)],
]
"""What is remembered of a file: size, time, SHA-256, width, height, ids, deep, look."""
_LINES: TypeAdapter[dict[str, _Line]] = TypeAdapter(dict[str, OnErrorOmit[_Line]])


@dataclass(frozen=True)
class Fingerprint:
    """`sha256` of the file's bytes, `size` as (width, height); `ids` that occur in a mask; `deep` for a photo
    of 16 grey bits, and its `look`, which is "" where it is too plain to know a copy by."""

    sha256: str
    size: tuple[int, int]
    ids: tuple[int, ...] = ()
    deep: bool = False
    look: str = ""

    @property
    def identity(self) -> str:
        """What keys know the file by: its hash, and how it is read if that isn't pixel by pixel."""
        small = f" at most {WORKING_PIXELS} pixels" if working_size(*self.size) != self.size else ""
        return f"{self.sha256}{small}{' upper 8 bits' if self.deep else ''}"


def inspect(file: File) -> Fingerprint | tuple[Problem, ...]:
    """Decode one file in full and return its fingerprint, or what is wrong with it.

    A `file` is anything else: its bytes are read, not understood, and it has no size.
    """
    kind, path = file
    try:
        content = read_bytes(path)
        digest = hashlib.sha256(content).hexdigest()
        if kind == "file":
            return Fingerprint(digest, (0, 0))
        if kind == "photo":
            photo = open_photo(content, path, WORKING_PIXELS)
            return Fingerprint(digest, photo.size, deep=photo.deep, look=look_of(photo.image))
        mask = decode_mask(content, path)
    except DataError as error:
        return error.problems
    return Fingerprint(digest, (mask.shape[1], mask.shape[0]), ids_in(mask))


class Fingerprints:
    """The fingerprints of one data set's files, remembered in one JSON file (nowhere when None).

    The file is a convenience: it is replaced as a whole, and when two processes write at once, what
    one of them found may have to be found again. A file that changed since is looked at again.
    """

    def __init__(self, memory: Path | None) -> None:
        self._memory = memory
        self._known: dict[Path, Fingerprint] = {}

    def take(
        self, files: Iterable[File], *, workers: int = 1, progress: Progress | None = None
    ) -> tuple[dict[Path, Fingerprint], list[Problem]]:
        """Return path → fingerprint of the files that are whole, and the problems of the others.

        Args:
            files: kind and path of each.
            workers: processes that decode.
            progress: gets (files done, all files).
        """
        files = list(dict.fromkeys(files))
        todo = [file for file in files if file[1] not in self._known]
        problems = self._look(todo, workers, progress) if todo else []
        return {path: self._known[path] for _, path in files if path in self._known}, problems

    def known(self, path: Path) -> Fingerprint | None:
        """Return the fingerprint of a file that was taken by this process."""
        return self._known.get(path)

    def size(self, path: Path) -> tuple[int, int] | None:
        """Return the (width, height) of a photo or mask whose fingerprint was taken by this process."""
        found = self.known(path)
        return found.size if found else None

    def _look(self, files: list[File], workers: int, progress: Progress | None) -> list[Problem]:
        remembered = self._recall()
        stamps = {path: stamp_of(path) for _, path in files}
        todo = []
        for file in files:
            stamp, known = remembered.get(str(file[1]), (None, None))
            if known is not None and stamp == stamps[file[1]]:
                self._known[file[1]] = known
            else:
                todo.append(file)
        fresh: dict[Path, Fingerprint] = {}
        problems: list[Problem] = []
        try:
            results = map_files(inspect, todo, workers=workers, progress=progress)
            for (_, path), result in zip(todo, results, strict=True):
                if isinstance(result, Fingerprint):
                    fresh[path] = self._known[path] = result
                else:
                    problems += result
        finally:  # an interrupted look need not begin again
            self._remember({path: (stamps[path], found) for path, found in fresh.items()})
        return problems

    def _lines(self) -> dict[str, _Line]:
        """Return what is remembered, as far as it can be read; nothing, when it has changed since."""
        content = read_json(self._memory) if self._memory else None
        try:
            content = without_checksum(content)
            return _LINES.validate_python(content["files"]) if content.get("version") == VERSION else {}
        except (ValueError, KeyError, ValidationError):
            return {}

    def _recall(self) -> dict[str, tuple[Stamp, Fingerprint]]:
        return {
            path: ((size, time), Fingerprint(digest, (width, height), tuple(ids), deep, look))
            for path, (size, time, digest, width, height, ids, deep, look) in self._lines().items()
        }

    def _remember(self, fresh: dict[Path, tuple[Stamp | None, Fingerprint]]) -> None:
        if not self._memory or not fresh:
            return
        lines = self._lines()
        for path, (stamp, found) in fresh.items():
            if stamp:
                ids = list(found.ids)
                lines[str(path)] = (*stamp, found.sha256, *found.size, ids, found.deep, found.look)
        content = with_checksum({"version": VERSION, "files": lines})
        with contextlib.suppress(OSError):  # it saves time; a storage that can only be read is no problem
            write_atomic(self._memory, json.dumps(content, separators=(",", ":")))


def size_message(what: str, size: tuple[int, int], photo: tuple[int, int]) -> str:
    return f"{what} is {size[0]} x {size[1]}, but must be {photo[0]} x {photo[1]} like its photo"
