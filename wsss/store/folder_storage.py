"""Everything that studies leave at one place: artefacts, each study's file and its ledger.

In a folder:                                On an object storage:

    store/                                      <uri>/store/
    studies/<name>/study.yaml                   <uri>/studies/<name>/study.yaml
    studies/<name>/ledger.jsonl                 <uri>/studies/<name>/ledger/<number>.json
    studies/<name>/data.json                    <uri>/studies/<name>/data.json
    studies/<name>/lease                        <uri>/studies/<name>/lease
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Mapping
from pathlib import Path

from wsss.config.naming import FILE_ENDINGS
from wsss.config.text.location import Location
from wsss.errors import ConfigError, PreflightError, Problem, nearest, quoted
from wsss.files import read_file, write_atomic, writing
from wsss.store.file_lease import FileLease
from wsss.store.folder_store import Store
from wsss.store.lease import TIMEOUT, Lease
from wsss.store.ledger import LEDGER, Ledger

STUDY = "study.yaml"


class Storage:
    """A storage in a folder that every process (and node) can reach.

    `local` is a folder of this machine for what need not be shared; here it is the storage itself.
    """

    def __init__(self, location: Location, local: Path, *, lease_timeout: float = TIMEOUT) -> None:
        self.location = location
        self.local = local
        self.lease_timeout = lease_timeout

    @functools.cached_property
    def store(self) -> Store:
        return Store(self.local / "store", lease_timeout=self.lease_timeout)

    def check(self) -> None:
        """Write and delete something. Raises `PreflightError` naming the storage, or the file that stands
        where it has a folder."""
        for name in ("store", "studies"):
            if (file := self.local / name).is_file():
                raise PreflightError(Problem(str(file), "is a file, but must be a folder", "move it away"))
        try:
            self.local.mkdir(parents=True, exist_ok=True)
            probe = self.local / f".probe-{uuid.uuid4().hex[:8]}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            message = f"can't be written: {error.strerror}"
            raise PreflightError(Problem(str(self.local), message, "give --storage FOLDER")) from error

    def study_folder(self, name: str) -> Path:
        """Return this machine's folder for a study."""
        return self.local / "studies" / name

    def study_address(self, name: str) -> str:
        """Name the study's place for people."""
        return str(self.study_folder(name))

    def ledger(self, name: str) -> Ledger:
        return Ledger(self.study_folder(name))

    def study_text(self, name: str) -> str | None:
        """Return the study file that was stored under a name, None without one.

        Raises `ConfigError` when it is no text in UTF-8.
        """
        path = self.study_folder(name) / STUDY
        try:
            return study_text_of(read_file(path), str(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ConfigError(Problem(str(path), f"can't be read: {reason}")) from error

    def write_study(self, name: str, text: str) -> None:
        """Store a study file. Raises `StorageError`."""
        self.write_note(name, STUDY, text)

    def note(self, name: str, file: str) -> bytes | None:
        """Return a small file that was kept beside a study; None without it, or when it can't be read."""
        try:
            return read_file(self.study_folder(name) / file)
        except (OSError, ValueError):
            return None

    def write_note(self, name: str, file: str, text: str) -> None:
        """Keep a small file beside a study. Raises `StorageError`."""
        with writing(self.study_folder(name)):
            write_atomic(self.study_folder(name) / file, text)

    def lease(self, name: str, about: Mapping[str, str]) -> Lease:
        """Return the wish to run a study; `about` is what the lease says of its holder besides."""
        return FileLease(self.study_folder(name), about=about, timeout=self.lease_timeout)

    def study_names(self) -> list[str]:
        """Return the names of all studies that were ever begun, sorted."""
        found = (self.local / "studies").glob("*/*")
        return sorted({path.parent.name for path in found if path.name in (STUDY, LEDGER)})

    def require(self, name: str) -> None:
        """Raise `ConfigError` with the nearest name if there is no such study."""
        if name not in self.study_names():
            raise self.no_study(name)

    def no_study(self, name: str) -> ConfigError:
        """Return the error to raise where no study has a name, with what may be meant."""
        known = self.study_names()
        file = next((f"{name}{ending}" for ending in FILE_ENDINGS if _is_file(f"{name}{ending}")), None)
        if file is not None:
            hint = f"there is a file {file}"
        elif known:
            hint = nearest(name, known)
        elif isinstance(self.location, Path) and not self.location.is_dir():
            hint = "there is no such folder; give --storage FOLDER"
        else:
            hint = "the storage has no studies yet"
        return ConfigError(Problem(str(self.location), f"no study is named {quoted(name)}", hint))


def study_text_of(content: bytes, where: str) -> str:
    """Return a stored study's text. Raises `ConfigError` for what can't have been written as one."""
    hint = "move it away and `run` the study with your own file: it goes on"
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(Problem(where, "is not a text file in UTF-8", hint)) from error
    if "\0" in text:
        raise ConfigError(Problem(where, "holds NUL bytes, and so is no text", hint))
    return text


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False
