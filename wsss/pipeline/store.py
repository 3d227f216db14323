"""The artefact store: content-addressed folders, each written once and never changed.

    <root>/<key[:2]>/<key>/artefact.json    written last: with it the artefact exists
    <root>/partial/<key>/                   an artefact being made (see `wsss.pipeline.partial`)
    <root>/damaged/<key>-<n>/               set aside because a file was missing or had changed

A commit is a rename of a finished folder, so that the first of two writers wins and a reader sees
all of an artefact or nothing.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss.errors import PreflightError, Problem
from wsss.files import damaged_files, describe_files, files_below, read_json, sha256_json, write_json

RECORD = "artefact.json"
EVICTED = "evicted"


@dataclass(frozen=True)
class Artefact:
    """A finished artefact. `record` is the content of its artefact.json."""

    key: str
    folder: Path
    record: Mapping[str, Any]

    @property
    def stage(self) -> str:
        return str(self.record["stage"])

    @property
    def digest(self) -> str:
        """Identity of the files' content: equal digests mean bitwise equal files."""
        return sha256_json({name: facts["sha256"] for name, facts in self.record["files"].items()})

    @property
    def bytes(self) -> int:
        return sum(int(facts["bytes"]) for facts in self.record["files"].values())

    @property
    def evicted(self) -> bool:
        """The files were deleted to save space; the record stays."""
        return (self.folder / EVICTED).exists()


class Store:
    """Artefacts by key, on one folder that every process (and node) can reach.

    Raises `PreflightError` when the folder can't be created or written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._verified: set[str] = set()
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PreflightError(
                Problem(str(root), f"the storage can't be written: {error.strerror}", "give --storage FOLDER")
            ) from error

    def folder(self, key: str) -> Path:
        return self.root / key[:2] / key

    def known(self, key: str) -> Artefact | None:
        """Return the artefact if it was ever finished, even when its files have been evicted."""
        folder = self.folder(key)
        record = read_json(folder / RECORD)
        return Artefact(key, folder, record) if record else None

    def get(self, key: str, *, thorough: bool = False) -> Artefact | None:
        """Return the artefact if all its files are there; set a damaged one aside and return None.

        `thorough` reads every byte (once per process and key) and compares digests; otherwise only
        names and sizes are compared.
        """
        artefact = self.known(key)
        if artefact is None or artefact.evicted:
            return None
        thorough = thorough and key not in self._verified
        if damaged_files(artefact.folder, dict(artefact.record["files"]), thorough=thorough):
            self.set_aside(key)
            return None
        if thorough:
            self._verified.add(key)
        return artefact

    def set_aside(self, key: str) -> None:
        """Move an artefact out of the way, so that it is made again; nothing is deleted."""
        aside = self.root / "damaged" / f"{key}-{uuid.uuid4().hex[:6]}"
        aside.parent.mkdir(parents=True, exist_ok=True)
        self.folder(key).rename(aside)
        self._verified.discard(key)

    def commit(self, key: str, folder: Path, record: Mapping[str, Any]) -> Artefact:
        """Turn a folder of finished files into the artefact of `key`; the first commit wins.

        `folder` must be on the store's file system and is gone afterwards.
        """
        names = [name for name in files_below(folder) if name != RECORD]
        write_json(folder / RECORD, {**record, "key": key, "files": describe_files(folder, names)})
        target = self.folder(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        known = self.known(key)
        if known is None and target.exists():
            self.set_aside(key)
        elif known is not None and known.evicted:
            shutil.rmtree(target)
        try:
            folder.rename(target)
        except OSError:
            if self.get(key) is None:
                raise
            shutil.rmtree(folder)
        artefact = self.get(key)
        assert artefact is not None
        return artefact

    def evict(self, key: str) -> int:
        """Delete an artefact's files, keep its record; return the bytes freed."""
        artefact = self.known(key)
        if artefact is None or artefact.evicted:
            return 0
        (artefact.folder / EVICTED).touch()
        for name in artefact.record["files"]:
            (artefact.folder / name).unlink(missing_ok=True)
        return artefact.bytes

    def __iter__(self) -> Iterator[Artefact]:
        """Iterate over all finished artefacts, evicted ones too, in the order of their keys."""
        for folder in sorted(self.root.glob("??/*")):
            artefact = self.known(folder.name)
            if artefact is not None:
                yield artefact
