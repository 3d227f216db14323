"""A half-made artefact on an object storage: worked on in this machine's cache, saved there now and then.

<uri>/store/partial/<key>/lease                      the run that works on it, or did
<uri>/store/partial/<key>/<writer>/step-000007/      state after step 7, with manifest.json last
<uri>/store/partial/<key>/<writer>/work/             files of finished chunks that manifests name
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from wsss.errors import StorageError
from wsss.files import WRITING, describe_files, read_file, with_checksum, write_json
from wsss.store.lease import TIMEOUT, Lease
from wsss.store.objects.client import Objects
from wsss.store.objects.lease import PARTIAL, ObjectLease, is_lease
from wsss.store.partial import KEEP, MANIFEST, Partial
from wsss.store.records import parse_manifest, say_once

UPLOAD_SECONDS = 30.0
"""Least time between two uploads; ten times what the last one took, if that is more."""


class ObjectPartial(Partial):
    """The working folder of one key in the cache, whose checkpoints are uploaded."""

    def __init__(
        self, objects: Objects, root: Path, key: str, *, inputs: Sequence[str] = (), timeout: float = TIMEOUT
    ) -> None:
        self._objects = objects
        self._key = key
        super().__init__(root, key, inputs=inputs, timeout=timeout)
        self.upload_seconds = UPLOAD_SECONDS
        self._next_upload = 0.0
        self._uploaded = -1
        self._sent: dict[str, tuple[tuple[int, int], dict[str, Any]]] = {}
        self._done = False

    def _new_lease(self) -> Lease:
        return ObjectLease(self._objects, self._place, inputs=self._inputs, timeout=self._timeout)

    @property
    def _place(self) -> str:
        return f"{PARTIAL}/{self._key}"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # Stopped or paused: what is newer here than there goes along, if the storage can take it.
            if not (self._done or self.lost or self.private) and not isinstance(error, StorageError):
                newest = super().newest()
                if newest is not None and newest[0] > self._uploaded:
                    self._upload(newest[0])
        except (StorageError, OSError):
            pass
        finally:
            super().__exit__(kind, error, trace)

    def save(self, step: int, save: Callable[[Path], None], about: dict[str, Any]) -> None:
        """Write the state here, and upload it unless that was done a moment ago."""
        super().save(step, save, about)
        if not self.private and time.monotonic() >= self._next_upload:
            self._upload(step)

    def newest(self) -> tuple[int, Path, dict[str, Any]] | None:
        """Return the newest whole checkpoint, copied here if it was made elsewhere."""
        here = super().newest()
        if not self.private:
            for step, place in self._uploads():
                if here is not None and step <= here[0]:
                    break
                if self._fetch(step, place):
                    self._uploaded = step
                    return super().newest()
        return here

    def reset(self) -> None:
        super().reset()
        if not self.private:
            self._objects.delete(*(one.name for one in self._objects.below(self._place) if not is_lease(one)))
            self._sent.clear()

    def remove(self) -> None:
        if not (self.lost or self.private):
            self._objects.delete(*(one.name for one in self._objects.below(self._place) if not is_lease(one)))
        self._done = True
        super().remove()

    def _upload(self, step: int) -> None:
        began = time.monotonic()
        place = f"{self._place}/{self.lease.owner}"
        folder = self.folder / f"step-{step:06d}"
        try:
            manifest = parse_manifest(read_file(folder / MANIFEST))
        except (OSError, ValueError):
            return
        fresh, work = self._work_files()
        self._objects.upload_all(self.work, fresh, f"{place}/work")
        self._objects.upload_all(folder, manifest["files"], f"{place}/{folder.name}")
        content = json.dumps(with_checksum({**manifest, "work": work})).encode()
        self._objects.write(f"{place}/{folder.name}/{MANIFEST}", content)
        self._uploaded = step
        own = [upload for upload in self._uploads() if upload[1].startswith(f"{place}/")]
        for _, old in own[KEEP:]:
            self._objects.delete(f"{old}/{MANIFEST}")
            self._objects.delete(*(one.name for one in self._objects.below(old)))
        spent = time.monotonic() - began
        self._next_upload = time.monotonic() + max(self.upload_seconds, 10 * spent)

    def _work_files(self) -> tuple[list[str], dict[str, Any]]:
        """Return the names of chunks not uploaded yet, and a description of all."""
        described = {}
        fresh = []
        for name in self._chunks():
            if name.endswith(WRITING):
                continue
            facts = (self.work / name).stat()
            stamp = (facts.st_size, facts.st_mtime_ns)
            if name not in self._sent or self._sent[name][0] != stamp:
                self._sent[name] = (stamp, describe_files(self.work, [name])[name])
                fresh.append(name)
            described[name] = self._sent[name][1]
        return fresh, described

    def _uploads(self) -> list[tuple[int, str]]:
        """Return (step, place) of all checkpoints with a manifest, the newest first."""
        found = []
        for one in self._objects.below(self._place):
            match = re.fullmatch(rf"(.*/step-(\d+))/{re.escape(MANIFEST)}", one.name)
            if match:
                found.append((int(match[2]), match[1]))
        return sorted(found, reverse=True)

    def _fetch(self, step: int, place: str) -> bool:
        """Copy an uploaded checkpoint here; False if it isn't whole."""
        content = self._objects.read(f"{place}/{MANIFEST}")
        if content is None:
            return False
        try:
            manifest = parse_manifest(content)
        except ValueError as error:
            where = self._objects.address(f"{place}/{MANIFEST}")
            say_once(where, f"can't be used ({error}); an earlier checkpoint is taken")
            return False
        folder = self.folder / f"step-{step:06d}"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        chunks = f"{place.rpartition('/')[0]}/work"
        wanted = [(f"{place}/{name}", folder / name, facts) for name, facts in manifest["files"].items()]
        wanted += [(f"{chunks}/{name}", self.work / name, facts) for name, facts in manifest["work"].items()]
        targets = {source: (target, facts["sha256"]) for source, target, facts in wanted}

        def fetch(source: str) -> bool:
            return bool(self._objects.download(source, targets[source][0]) == targets[source][1])

        try:
            if not all(self._objects.map(fetch, targets)):
                return False
        except FileNotFoundError:
            return False
        own = {key: manifest[key] for key in ("step", "about", "files")}
        write_json(folder / MANIFEST, with_checksum(own))
        return True
