"""A model checker: two writers, two readers and two evictors on one object storage, one request at a time.

Every request of every process is a point at which another process may go on instead, also for a long time (a
process that is frozen), before the request is carried out and after. The order is drawn from a seed. The
processes' clocks are hours apart. obstore's own memory store is the storage.

    WSSS_INTERLEAVINGS=5000 pytest tests/store/test_interleavings.py
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wsss.files import sha256_json
from wsss.store.objects import entries as module
from wsss.store.objects.client import Objects
from wsss.store.objects.lease import ObjectLease
from wsss.store.objects.store import ObjectStore

RUNS = int(os.environ.get("WSSS_INTERLEAVINGS", "400"))
CHUNKS = 8
KEY = sha256_json("one")
PLACE = f"store/partial/{KEY}"
MOST_REQUESTS = 4000


class Turns:
    """Lets one thread run at a time, and draws at every request which."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.condition = threading.Condition()
        self.waiting: set[str] = set()
        self.frozen: dict[str, int] = {}
        self.current = ""
        self.expected = 0
        self.requests = 0

    def join(self, name: str) -> None:
        """Wait, as a new process, for the first turn."""
        with self.condition:
            self._wait(name)

    def pause(self, name: str) -> None:
        """Let others go on, maybe for long."""
        with self.condition:
            self.requests += 1
            assert self.requests < MOST_REQUESTS, "the processes keep each other from coming to an end"
            if self.random.random() < 0.05:
                self.frozen[name] = self.random.randrange(10, 60)
            self._wait(name)

    def leave(self) -> None:
        with self.condition:
            self.expected -= 1
            self._next()

    def _wait(self, name: str) -> None:
        self.waiting.add(name)
        self._next()
        while self.current != name:
            assert self.condition.wait(timeout=60)
        self.waiting.discard(name)
        self.current = "running"

    def _next(self) -> None:
        if len(self.waiting) < self.expected or not self.waiting:
            return
        self.frozen = {name: left - 1 for name, left in self.frozen.items() if left > 1}
        awake = sorted(self.waiting - set(self.frozen)) or sorted(self.waiting)
        self.current = self.random.choice(awake)
        self.condition.notify_all()


class Stepped(Objects):
    """Objects of one process: a request is carried out in its turn, its answer is read in a later one."""

    def __init__(self, shared: Any, turns: Turns, name: str) -> None:
        self.uri, self._tries, self._store = "memory:///", 1, shared
        self.turns, self.name = turns, name

    @contextlib.contextmanager
    def _asking(self, what: str, name: str) -> Iterator[None]:
        self.turns.pause(self.name)
        with super()._asking(what, name):
            yield
        self.turns.pause(self.name)

    def map(self, function: Callable[[str], Any], names: Iterable[str]) -> list[Any]:
        return [function(name) for name in names]


def commit(store: ObjectStore, folder: Path, content: str) -> str:
    folder.mkdir(parents=True)
    for name in ("a", "b"):
        (folder / name).write_text(content)
    return store.commit(KEY, folder, {"stage": "toy", "inputs": {}, "seconds": 0.0}).digest


class World:
    """One run. `evicting` adds a process that deletes the files, and writers that make them again."""

    def __init__(self, seed: int, root: Path, *, evicting: bool) -> None:
        self.turns = Turns(seed)
        self.random = random.Random(seed + 1)
        self.shared = Objects("memory:///")._store
        self.root = root
        self.evicting = evicting
        self.made: list[str] = []
        self.seen: list[tuple[str, int, str | None]] = []
        """Who read, when it began to (in requests so far), and what it got."""
        self.committed: int | None = None
        """When the first commit returned."""
        self.errors: list[BaseException] = []
        self.actors: dict[str, Callable[[ObjectStore], None]] = {
            "writer-1": self.write,
            "writer-2": self.write,
            "reader-1": self.read,
            "reader-2": self.read,
        }
        if evicting:
            self.actors |= {"evictor-1": self.evict, "evictor-2": self.evict}

    def store(self, name: str) -> ObjectStore:
        return ObjectStore(Stepped(self.shared, self.turns, name), self.root / name, limit=10**9)

    def write(self, store: ObjectStore) -> None:
        name = store.objects.name  # type: ignore[attr-defined]
        for number in range(2 if self.evicting else 1):
            self.made.append(commit(store, store.root / f"made-{number}", f"{name}-{number}"))
            self.committed = self.committed or self.turns.requests

    def read(self, store: ObjectStore) -> None:
        for _ in range(4):
            began = self.turns.requests
            found = store.get(KEY, thorough=True)
            name = store.objects.name  # type: ignore[attr-defined]
            self.seen.append((name, began, None if found is None else found.digest))
            if found is not None and not self.evicting:
                assert (found.folder / "a").read_text() == (found.folder / "b").read_text()

    def evict(self, store: ObjectStore) -> None:
        for _ in range(2):
            store.evict(KEY)

    def run(self) -> None:
        def act(name: str, what: Callable[[ObjectStore], None]) -> None:
            try:
                self.turns.join(name)
                what(self.store(name))
            except BaseException as error:
                self.errors.append(error)
            finally:
                self.turns.leave()

        self.turns.expected = len(self.actors)
        threads = [threading.Thread(target=act, args=pair) for pair in self.actors.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert self.errors == []

    def last(self) -> ObjectStore:
        """Return the store of a process that comes when all others have ended."""
        alone = Turns(0)
        alone.pause = lambda name: None  # type: ignore[method-assign]
        return ObjectStore(Stepped(self.shared, alone, "last"), self.root / "last", limit=10**9)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No waiting for disks; every process's clock is some hours off, and jumps."""
    monkeypatch.setattr(os, "fsync", lambda number: None)
    clock = random.Random(0)
    wrong = SimpleNamespace(
        time=lambda: time.time() + clock.uniform(-4000, 4000),
        monotonic=time.monotonic,
        sleep=lambda seconds: None,
        time_ns=lambda: time.time_ns() + clock.randrange(10**13),
    )
    monkeypatch.setattr("wsss.store.lease.time", wrong)
    monkeypatch.setattr(module, "REMEMBER_SECONDS", 0.0)
    memory = Path("/dev/shm")
    root = tmp_path_factory.mktemp("interleavings")
    if memory.is_dir() and os.access(memory, os.W_OK):
        root = memory / f"wsss-{os.getpid()}-{root.name}"
    yield root
    shutil.rmtree(root, ignore_errors=True)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_nothing_is_lost_doubled_or_vanishes(fast: Path, chunk: int) -> None:
    """Whatever the order: one version, seen by all from the first sight on, and nothing else is left."""
    for seed in range(chunk, RUNS // 2, CHUNKS):
        world = World(seed, fast / f"{seed}", evicting=False)
        world.run()
        digests = {digest for _, _, digest in world.seen if digest} | set(world.made)
        assert len(world.made) == 2 and len(digests) == 1, f"seed {seed}: {digests}"
        assert world.committed is not None
        assert all(digest for _, began, digest in world.seen if began > world.committed), f"seed {seed}"
        for reader in ("reader-1", "reader-2"):
            got = [digest is not None for name, _, digest in world.seen if name == reader]
            assert got == sorted(got), f"seed {seed}: what {reader} had seen vanished"
        last = world.last()
        found = last.get(KEY, thorough=True)
        assert found is not None and found.digest in digests
        assert last.damaged() == [] and last.keys() == [KEY], f"seed {seed}: files that no entry names"
        shutil.rmtree(fast / f"{seed}")


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_evicting_meanwhile_loses_nothing_that_a_writer_was_promised(fast: Path, chunk: int) -> None:
    """A commit's answer holds until somebody evicts; no reader ever gets half of one and half of another."""
    for seed in range(chunk, RUNS // 2, CHUNKS):
        world = World(seed, fast / f"{seed}", evicting=True)
        world.run()
        assert len(world.made) == 4
        last = world.last()
        known = last.known(KEY)
        assert known is not None and known.digest in world.made, f"seed {seed}: no record"
        found = last.get(KEY, thorough=True)
        assert found is not None or known.evicted, f"seed {seed}: set aside, though no file was damaged"
        assert last.damaged() == [], f"seed {seed}: files that no entry names"
        shutil.rmtree(fast / f"{seed}")


def test_a_lease_that_is_renewed_from_two_threads_is_not_lost() -> None:
    lease = ObjectLease(Objects("memory:///"), PLACE)
    assert lease._claim(set())
    found: list[bool] = []
    threads = [
        threading.Thread(target=lambda: found.extend(lease.still_mine() for _ in range(50))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 200 and not lease.lost


@pytest.mark.parametrize("seed", range(40))
def test_of_several_who_take_over_a_stale_lease_one_has_it(fast: Path, seed: int) -> None:
    turns = Turns(seed)
    shared = Objects("memory:///")._store
    names = ["one", "two", "three"]
    turns.expected = len(names)
    held: list[str] = []

    def act(name: str) -> None:
        turns.join(name)
        if ObjectLease(Stepped(shared, turns, name), PLACE)._claim(stale):
            held.append(name)
        turns.leave()

    stale: set[str] = set()
    if seed % 2:
        alone = Turns(0)
        alone.pause = lambda name: None  # type: ignore[method-assign]
        dead = ObjectLease(Stepped(shared, alone, "dead"), PLACE)
        assert dead._claim(set())
        stale = {dead.owner}
    threads = [threading.Thread(target=act, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == 1
