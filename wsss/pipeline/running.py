"""One run of a study at a time: who runs it holds the study's lease, the next one learns who that is.

    <storage>/studies/<name>/lease

The lease is a file (an object, on an object storage) that says who holds it and since when, and is renewed
every few seconds. A holder that died on this machine is taken over from at once. On another machine it
lives if its lease changes while somebody watches, and is taken over from if it does not for a lease's
timeout; clocks are not compared. A copied storage has a copy of the lease, which nobody renews.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from wsss.config import Study
from wsss.errors import ConfigError, Problem, WsssError
from wsss.files import sha256_json, writing
from wsss.pipeline.past.extending import MAY_CHANGE
from wsss.store.lease import is_dead, this_host
from wsss.store.storage import Storage

POLL_SECONDS = 0.5
PATIENCE = 2.0
"""Seconds of watching after which a note says why nothing happens."""
JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""The variable in which Ray tells a job's process about the job, `job_submission_id` among its metadata."""


@dataclass(frozen=True)
class Holder:
    """The run that holds a study's lease; what the lease does not say is empty or 0."""

    host: str
    process: int
    job: str = ""
    """The id of the Ray job that it is."""
    since: str = ""
    """UTC, by the clock of its machine."""

    def __str__(self) -> str:
        process = f"process {self.process} on {self.host}" if self.process else self.host
        parts = [process, *([f"Ray job {self.job}"] if self.job else [])]
        return ", ".join([*parts, *([f"since {self.since}"] if self.since else [])])


class Overtaken(WsssError):
    """Another run has taken the study over, as this one gave no sign of life for too long."""

    exit_code = 0


class StudyLease:
    """The right to run a study on its storage, held inside a `with` block that `acquire` allowed.

    `note` is called with a line for people when the answer takes a while.
    """

    def __init__(
        self, study: Study, storage: Storage, note: Callable[[str], None] = lambda text: None
    ) -> None:
        self.study = study
        self.storage = storage
        self._note = note
        self._digest = content_digest(study)
        about = {"place": str(storage.location), "study": self._digest, "job": this_job()}
        about["since"] = datetime.now(UTC).isoformat(timespec="seconds")
        self._lease = storage.lease(study.name, about)

    def acquire(self, poll_seconds: float = POLL_SECONDS) -> Holder | None:
        """Take the lease and return None, or return who holds it and lives.

        Returns at once when the holder is a process of this machine, else as soon as it gives a sign of life,
        or after the lease's timeout without one. Raises `ConfigError` when the holder runs another study of
        that name, and `StorageError` when the lease can't be written.
        """
        first: dict[str, str] = {}
        began, noted = time.monotonic(), False
        with writing(self.storage.study_folder(self.study.name)):
            while not self._lease.acquire():
                content, state = self._lease.holder, self._lease.holder_state
                owner = str(content.get("owner"))
                if self._is_here(content) or first.setdefault(owner, state) != state:
                    if content.get("study") not in (self._digest, None):
                        raise _another_study(self.study.name, holder_of(content))
                    return holder_of(content)
                if not noted and time.monotonic() - began >= PATIENCE:
                    noted = True
                    self._note(
                        f"{self.study.name} was last run by {holder_of(content)}; "
                        f"watching for up to {self._lease.timeout:.0f} s whether that run still lives"
                    )
                time.sleep(poll_seconds)
        return None

    def _is_here(self, content: Mapping[str, Any]) -> bool:
        """Whether a lease is held by a process of this machine that lives, and not the copy of such a one."""
        mine = content.get("pid") == os.getpid() and content.get("host") == this_host()
        if mine:
            return self._lease.held_here
        same = content.get("place") == str(self.storage.location) and content.get("host") == this_host()
        return same and not is_dead(content)

    @property
    def lost(self) -> bool:
        """Whether another run has taken over."""
        return self._lease.lost

    def still_mine(self) -> bool:
        """Look now whether no other run has taken over."""
        return self._lease.still_mine()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lease.release()
        if isinstance(self.storage.location, Path):
            with contextlib.suppress(OSError):  # nothing was begun: no trace of it
                self.storage.study_folder(self.study.name).rmdir()


def content_digest(study: Study) -> str:
    """Return what tells a study from another one of its name."""
    raw = {key: value for key, value in study.to_raw().items() if key not in MAY_CHANGE}
    return sha256_json(raw)[:16]


def current_holder(name: str, storage: Storage) -> Holder | None:
    """Return the holder of a study's lease, from one look at it: None without a lease, or if its process
    is dead."""
    lease = storage.lease(name, {})
    live = [content for _, content in lease.others().values() if not is_dead(content)]
    return holder_of(live[0]) if live else None


def holder_of(content: Mapping[str, Any]) -> Holder:
    """Return who holds a lease with this content."""
    pid = content.get("pid")
    host = str(content.get("host") or "another machine").partition(" ")[0]
    job, since = (str(content.get(name) or "")[:100] for name in ("job", "since"))
    return Holder(host[:100], pid if isinstance(pid, int) else 0, job, since)


def this_job() -> str:
    """Return the id of the Ray job that this process is the driver of, or an empty string."""
    try:
        found = json.loads(os.environ.get(JOB_CONFIG, "{}"))["metadata"]["job_submission_id"]
    except (ValueError, KeyError, TypeError):
        return ""
    return found if isinstance(found, str) else ""


def _another_study(name: str, holder: Holder) -> ConfigError:
    message = f"another study of that name is run at this moment by {holder}"
    return ConfigError(Problem(name, message, "give this one its own with --name NAME"))
