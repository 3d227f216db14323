"""An artefact that is being made: chunks already finished, and checkpoints to go on from.

    partial/<key>/lock            held by the process that works here (released by the kernel if it dies)
    partial/<key>/work/           files of finished chunks
    partial/<key>/step-000007/    state after step 7, with manifest.json written last

Checkpoints belong to the artefact, not to the process or the cluster that makes it: whoever next
needs the key opens the newest one that is whole.
"""

from __future__ import annotations

import fcntl
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from wsss.files import damaged_files, describe_files, files_below, read_json, write_json

MANIFEST = "manifest.json"
KEEP = 2


class Partial:
    """The working folder of one key. Use as a context manager; the lock is held inside.

    When another live process holds the folder, a private one is used instead: the work is then
    done twice, but never wrongly, and the first commit wins.
    """

    def __init__(self, root: Path, key: str) -> None:
        self.folder = root / "partial" / key
        self.private = False
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> Partial:
        if not self._try_lock():
            self.folder = self.folder.with_name(f"{self.folder.name}-{uuid.uuid4().hex[:8]}")
            self.private = True
            self._try_lock()
        self.work.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.private:
            self.remove()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _try_lock(self) -> bool:
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = (self.folder / "lock").open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            return False
        self._lock = lock
        return True

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
            names = files_below(aside)
            write_json(
                aside / MANIFEST, {"step": step, "about": about, "files": describe_files(aside, names)}
            )
            target = self.folder / f"step-{step:06d}"
            if target.exists():
                shutil.rmtree(target)
            aside.rename(target)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        for old in self._steps()[KEEP:]:
            shutil.rmtree(old, ignore_errors=True)

    def newest(self) -> tuple[int, Path, dict[str, Any]] | None:
        """Return (step, folder, about) of the newest whole checkpoint; damaged ones are skipped."""
        for folder in self._steps():
            manifest = read_json(folder / MANIFEST)
            if manifest and not damaged_files(folder, manifest["files"], thorough=True):
                return int(manifest["step"]), folder, dict(manifest["about"])
        return None

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
        """Delete the folder: the artefact is finished (or nobody wants it)."""
        shutil.rmtree(self.folder, ignore_errors=True)


def is_in_use(folder: Path) -> bool:
    """Tell whether a live process holds the lock of a half-made artefact's folder."""
    try:
        with (folder / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
