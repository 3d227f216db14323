"""A lease on a key: two runs that need the same artefact at once share the work.

The holder renews its lease every few seconds from a thread. Others wait while it changes. A lease
that has not changed for the whole of `timeout` *while another run watched it* is stale, and that run
takes over; clocks of different machines are never compared. On the holder's own machine a
dead process is noticed at once. Works where `flock` doesn't reach across machines.

A lease saves work and does not guard results: should two runs ever hold one (a process that was
frozen and woke up again), the work is done twice and the first commit wins.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil

TIMEOUT = 60.0
"""Seconds without a sign of life after which a lease is stale."""
BEATS = 12
"""How often a lease is renewed within `TIMEOUT`."""
LEASE = "lease"
Leases = dict[str, tuple[str, dict[str, Any]]]
"""Owner → (what changes with every sign of life, content)."""

_HELD: dict[str, Lease] = {}
"""The leases that this process holds, by owner."""


@functools.cache
def this_host() -> str:
    """Name what shares process ids: the machine, since when it runs, and the container."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    since = boot.read_text(encoding="utf-8").strip() if boot.exists() else str(int(psutil.boot_time()))
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return " ".join(part for part in (socket.gethostname(), since, space) if part)


@functools.cache
def _process_start(pid: int) -> float:
    return float(psutil.Process(pid).create_time())


def this_process() -> dict[str, Any]:
    """Return what identifies this process, for ever, among those of all machines."""
    return {"host": this_host(), "pid": os.getpid(), "started": _process_start(os.getpid())}


def is_dead(process: Mapping[str, Any]) -> bool:
    """Tell whether a process is known to have ended: that can be said of this machine's only."""
    if process.get("host") != this_host():
        return False
    try:
        found = psutil.Process(int(process["pid"]))
        if found.status() == psutil.STATUS_ZOMBIE:
            return True
        return bool(abs(found.create_time() - float(process["started"])) > 1)
    except (psutil.NoSuchProcess, KeyError, ValueError, TypeError, OverflowError):
        return True
    except psutil.Error:
        return False


class Lease(ABC):
    """One run's wish to work on a key, and its hold once `acquire` has returned True.

    `inputs` are the keys that the work reads: as long as the lease is there, they are not evicted.
    `about` is what the lease says besides, for people and for other runs.
    """

    def __init__(
        self,
        *,
        inputs: Sequence[str] = (),
        about: Mapping[str, str] = MappingProxyType({}),
        timeout: float = TIMEOUT,
    ) -> None:
        self.owner = f"{time.time_ns():016x}-{uuid.uuid4().hex[:8]}"
        self.inputs = tuple(inputs)
        self.about = dict(about)
        self.timeout = timeout
        self.lost = False
        """Another run took over, because this one gave no sign of life for too long."""
        self.mine = False
        self.holder: dict[str, Any] = {}
        """The one that was waited for last."""
        self.holder_state = ""
        """What changes with every sign of life of that one."""
        self._seen: dict[str, tuple[str, float]] = {}
        self._beat = 0
        self._resting: float | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @abstractmethod
    def others(self) -> Leases:
        """Return the leases of others."""

    @abstractmethod
    def _claim(self, stale: set[str]) -> bool:
        """Write the own lease over stale ones; False if another run was quicker."""

    @abstractmethod
    def _renew(self) -> bool:
        """Write a sign of life; False if the lease is no longer the own one."""

    @abstractmethod
    def _drop(self) -> None:
        """Delete the own lease."""

    def content(self) -> dict[str, Any]:
        self._beat += 1
        about = {"owner": self.owner, "time": time.time(), "beat": self._beat, "inputs": list(self.inputs)}
        return {**self.about, **about, **this_process()}

    def acquire(self) -> bool:
        """Try to take the lease, without waiting. Call it again and again: what it saw before is how
        it tells a live holder from one that has died elsewhere."""
        now = time.monotonic()
        others = self.others()
        seen = {}
        for owner, (state, _) in others.items():
            before = self._seen.get(owner)
            seen[owner] = before if before and before[0] == state else (state, now)
        self._seen = seen
        stale = {
            owner
            for owner, (_, content) in others.items()
            if now - seen[owner][1] >= self.timeout or is_dead(content)
        }
        live = sorted(set(others) - stale)
        if live:
            self.holder_state, self.holder = others[live[0]]
            return False
        return self.take_over(stale)

    def take_over(self, stale: set[str]) -> bool:
        """Take the lease from holders that are known to be gone; False if another run was quicker."""
        if not self._claim(stale):
            return False
        self.mine = True
        _HELD[self.owner] = self
        self._thread = threading.Thread(target=self._keep_alive, name="lease", daemon=True)
        self._thread.start()
        return True

    @property
    def held_here(self) -> bool:
        """Whether it is this very process that holds what was asked for."""
        return self.holder.get("owner") in _HELD and self.holder.get("pid") == os.getpid()

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        """Inside, the holder waits for its driver. After `timeout` seconds of that it gives no more signs of
        life: the driver is gone, as when a node was cut off from its cluster."""
        self._resting = time.monotonic()
        try:
            yield
        finally:
            self._resting = None

    def _keep_alive(self) -> None:
        while not self._stop.wait(self.timeout / BEATS):
            resting = self._resting
            if resting is not None and time.monotonic() - resting >= self.timeout:
                continue
            try:
                if not self._renew():
                    self.lost = True
                    return
            except Exception:  # noqa: S112 - a disk that is full or away for a moment; it may come back
                continue

    def still_mine(self) -> bool:
        """Look now, not at the next sign of life, whether no other run has taken over."""
        with contextlib.suppress(Exception):  # a disk that is full or away says nothing about others
            self.lost = self.lost or not self._renew()
        return not self.lost

    def stop(self) -> None:
        """Stop renewing the lease, which stays until it is released or its folder goes."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=30)

    def release(self) -> None:
        """Stop renewing and delete the lease. Nothing happens without one."""
        if not self.mine:
            return
        self.mine = False
        self.stop()
        _HELD.pop(self.owner, None)
        self._drop()


def release_all(seconds: float) -> None:
    """Release what this process holds, before it ends in a way that nothing else runs; give up after some
    seconds, as a storage may hang."""

    def release() -> None:
        for lease in list(_HELD.values()):
            lease.release()

    thread = threading.Thread(target=release, name="release", daemon=True)
    thread.start()
    thread.join(seconds)
