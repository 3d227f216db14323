"""An artefact that is being made: chunks already finished, and checkpoints to go on from.

    partial/<key>/lease           held by the process that works here (see `wsss.store.lease`)
    partial/<key>/work/           files of finished chunks
    partial/<key>/work/.here/     what a foreign program works on: as it is, nowhere else, not waited for
    partial/<key>/step-000007/    state after step 7, with manifest.json written last

Checkpoints belong to the artefact, not to the process or the cluster that makes it: the next run that
needs the key opens the newest one that is whole.
"""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from wsss.files import (
    damaged_files,
    describe_files,
    files_below,
    read_file,
    sync,
    sync_below,
    with_checksum,
    write_json,
    writing,
)
from wsss.store.file_lease import FileLease
from wsss.store.lease import TIMEOUT, Lease
from wsss.store.leftovers import PARTIAL
from wsss.store.records import parse_manifest, say_once

MANIFEST = "manifest.json"
HERE = ".here"
KEEP = 2


class Partial:
    """The working folder of one key. Use as a context manager; the lease is held inside.

    Call `acquire` until it is True to wait for another run that makes the same artefact. Entered
    without, or when this very process holds the key already, a private folder is used: the work is
    then done twice, but never wrongly, and the first commit wins.
    """

    def __init__(self, root: Path, key: str, *, inputs: Sequence[str] = (), timeout: float = TIMEOUT) -> None:
        self.folder = root / PARTIAL / key
        self.private = False
        self._inputs = inputs
        self._timeout = timeout
        self._synced: set[tuple[str, int, int]] = set()
        self.lease = self._new_lease()

    def _new_lease(self) -> Lease:
        return FileLease(self.folder, inputs=self._inputs, timeout=self._timeout)

    def acquire(self) -> bool:
        """Try to become the one that makes the key. False: another run is at it, `holder` says which.

        Raises `StorageError` when the lease can't be written.
        """
        with writing(self.folder):
            if self.lease.mine or self.lease.acquire():
                return True
            if self.lease.held_here:
                self._go_private()
                return True
        return False

    @property
    def holder(self) -> str:
        """Name the run that was waited for last, as "host, process 12"."""
        content = self.lease.holder
        host = str(content.get("host", "another machine")).partition(" ")[0]
        return f"{host}, process {content.get('pid', 'unknown')}"

    @property
    def lost(self) -> bool:
        """Whether another run has taken over, as this one seemed dead."""
        return self.lease.lost

    def _go_private(self) -> None:
        self.folder = self.folder.with_name(f"{self.folder.name}-{uuid.uuid4().hex[:8]}")
        self.private = True
        self.lease = FileLease(self.folder, inputs=self._inputs, timeout=self._timeout)
        self.lease.acquire()

    def __enter__(self) -> Partial:
        if not self.acquire():
            self._go_private()
        with writing(self.folder):
            self.work.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.private:
            self.remove()
        self.lease.release()

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def _steps(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"), reverse=True)

    def save(self, step: int, save: Callable[[Path], None], about: dict[str, Any]) -> None:
        """Write the state after `step` steps by calling `save(folder)`; keep the newest two."""
        aside = self.folder / f".writing-{uuid.uuid4().hex[:8]}"
        aside.mkdir()
        try:
            save(aside)
            self._sync_work()
            sync_below(aside)
            files = describe_files(aside, files_below(aside))
            write_json(aside / MANIFEST, with_checksum({"step": step, "about": about, "files": files}))
            target = self.folder / f"step-{step:06d}"
            if target.exists():
                shutil.rmtree(target)
            aside.rename(target)
            sync(self.folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        for old in self._steps()[KEEP:]:
            shutil.rmtree(old, ignore_errors=True)

    def _sync_work(self) -> None:
        """Wait until the chunks that a checkpoint goes on from are on the disk; each is waited for once."""
        folders = set()
        for name in self._chunks():
            path = self.work / name
            with contextlib.suppress(FileNotFoundError):  # another process has just renamed it
                facts = path.stat()
                mark = (name, facts.st_size, facts.st_mtime_ns)
                if mark not in self._synced:
                    sync(path)
                    folders.add(path.parent)
                    self._synced.add(mark)
        for folder in folders:
            sync(folder)

    def _chunks(self) -> list[str]:
        """Return the names of files in `work`, without those that a program may change at any moment."""
        names = []
        for path in sorted(self.work.iterdir()):
            if path.name == HERE:
                continue
            if path.is_dir():
                names += [f"{path.name}/{name}" for name in files_below(path)]
            else:
                names.append(path.name)
        return names

    def newest(self) -> tuple[int, Path, dict[str, Any]] | None:
        """Return (step, folder, about) of the newest whole checkpoint; damaged ones are skipped."""
        for folder, manifest in self._manifests():
            if not damaged_files(folder, manifest["files"], thorough=True):
                return int(manifest["step"]), folder, dict(manifest["about"])
            say_once(str(folder), "has changed since it was written; an earlier checkpoint is taken")
        return None

    def progress(self) -> dict[str, Any]:
        """Return what the newest checkpoint on this machine says of itself, its files unread; else {}."""
        return next((dict(manifest["about"]) for _, manifest in self._manifests()), {})

    def _manifests(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Iterate over the checkpoints whose manifest can be read, the newest first."""
        for folder in self._steps():
            try:
                manifest = parse_manifest(read_file(folder / MANIFEST))
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                say_once(str(folder / MANIFEST), f"can't be used ({error}); an earlier checkpoint is taken")
                continue
            yield folder, manifest

    def reset(self) -> None:
        """Throw away chunks and checkpoints: what they were made from has changed."""
        for folder in [*self._steps(), self.work]:
            shutil.rmtree(folder, ignore_errors=True)
        self.work.mkdir(parents=True, exist_ok=True)

    def staging(self) -> Path:
        """Return a new empty folder on the store's file system, to be filled and committed."""
        folder = self.folder / f".commit-{uuid.uuid4().hex[:8]}"
        folder.mkdir()
        return folder

    def remove(self) -> None:
        """Delete the folder: the artefact is finished (or no run needs it)."""
        if self.lost:
            return
        self.lease.stop()
        aside = self.folder.with_name(f".removed-{uuid.uuid4().hex[:8]}")
        with contextlib.suppress(OSError):  # in one move, so that nobody begins in what is half deleted
            self.folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
