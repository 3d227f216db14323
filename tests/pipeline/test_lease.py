"""Two runs that need one key share the work; one that dies, stops or freezes holds nobody up for long."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import toys

from wsss.files import read_json, sha256_json, write_json
from wsss.pipeline.chain import Part, build_chain
from wsss.pipeline.events import StageFinished, StageWaiting, TrialProgress
from wsss.pipeline.execute import run_chain
from wsss.pipeline.lease import FileLease, is_dead, this_process
from wsss.pipeline.partial import is_in_use
from wsss.pipeline.store import Store

KEY = sha256_json("one")
TIMEOUT = 5.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "partial" / KEY


def elsewhere(owner: str = "they", **changes: Any) -> dict[str, Any]:
    """A lease of a process on another machine, whose clock is a year ahead."""
    about = {"owner": owner, "host": "other", "pid": 1, "started": 0.0, "time": time.time() + 3e7, "beat": 1}
    return {**about, **changes}


def test_the_lease_says_who_holds_it_and_changes_while_held(folder: Path) -> None:
    lease = FileLease(folder, inputs=["x"], timeout=1.2)
    assert lease.acquire()
    first = read_json(folder / "lease")
    assert {"owner", "host", "pid", "time", "beat"} <= set(first)
    assert first["pid"] == os.getpid() and first["inputs"] == ["x"]
    time.sleep(0.5)
    later = read_json(folder / "lease")
    assert later["beat"] > first["beat"] and later["owner"] == first["owner"]
    assert is_in_use(folder)
    lease.release()
    assert not (folder / "lease").exists() and not is_in_use(folder)


def test_a_holder_that_is_told_nothing_any_more_gives_no_sign_of_life(folder: Path) -> None:
    lease, other = FileLease(folder, timeout=0.6), FileLease(folder, timeout=0.6)
    assert lease.acquire() and not other.acquire()
    until = time.monotonic() + 1.5
    while time.monotonic() < until:  # told to go on again and again, it keeps its lease
        with lease.resting():
            time.sleep(0.1)
        assert not other.acquire()
    with lease.resting():
        until = time.monotonic() + 5
        while not other.acquire():
            assert time.monotonic() < until
            time.sleep(0.05)
    until = time.monotonic() + 5
    while not lease.lost:  # told to go on after all, it notices
        assert time.monotonic() < until
        time.sleep(0.05)
    lease.release()
    other.release()
    assert not (folder / "lease").exists()


def test_a_lease_from_another_machine_is_judged_by_its_changes_not_by_clocks(folder: Path) -> None:
    write_json(folder / "lease", elsewhere())
    lease = FileLease(folder, timeout=0.6)
    began = time.monotonic()
    for beat in range(2, 8):  # alive, for longer than the timeout
        assert not lease.acquire()
        time.sleep(0.2)
        write_json(folder / "lease", elsewhere(beat=beat))
    assert time.monotonic() - began > 1.2
    assert not lease.acquire()
    time.sleep(0.3)
    assert not lease.acquire(), "not watched for long enough"
    time.sleep(0.4)
    assert lease.acquire()
    assert read_json(folder / "lease")["owner"] == lease.owner
    lease.release()


def test_who_lost_its_lease_notices_and_leaves_the_new_one_alone(folder: Path) -> None:
    lease = FileLease(folder, timeout=0.6)
    assert lease.acquire()
    write_json(folder / "lease", elsewhere())
    time.sleep(0.3)
    assert lease.lost
    lease.release()
    assert read_json(folder / "lease")["owner"] == "they"


def test_an_unreadable_lease_goes_stale_like_any_other(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "lease").write_text("{")
    lease = FileLease(folder, timeout=0.2)
    assert not lease.acquire()
    time.sleep(0.3)
    assert lease.acquire()
    lease.release()


def test_only_processes_of_this_machine_are_known_to_be_dead() -> None:
    me = this_process()
    assert not is_dead(me)
    assert is_dead({**me, "started": me["started"] - 100}), "the number was given to another process since"
    assert not is_dead({**me, "pid": 2**22 - 1, "host": "other"})
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert is_dead({**me, "pid": child.pid})


PARTS = [Part("source", "source", toys.ToyParams(length=12)), Part("sink", "sink", toys.ToyParams(length=2))]


def work(root: Path, log: Path, hold: bool) -> None:
    """Make the toy chain in a process of its own, writing its events down; with `hold`, stop at step 4
    until there is a file `go`."""
    patch = pytest.MonkeyPatch()
    data: Any = toys.install(patch)
    chain = build_chain(PARTS, data, 0)
    store = Store(root, lease_timeout=TIMEOUT)
    with log.open("a") as file:
        for event in run_chain(
            log.stem, chain, store, data, device="cpu", threads=1, checkpoint_seconds=0, poll_seconds=0.05
        ):
            told = {"event": type(event).__name__, **event.__dict__}
            file.write(json.dumps(told) + "\n")
            file.flush()
            while (
                hold and isinstance(event, TrialProgress) and event.step == 4 and not (root / "go").exists()
            ):
                time.sleep(0.02)


def events(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def steps(log: Path, stage: str = "source") -> list[int]:
    return [e["step"] for e in events(log) if e["event"] == "TrialProgress" and e["stage"] == stage]


def waits(log: Path) -> list[dict[str, Any]]:
    return [e for e in events(log) if e["event"] == StageWaiting.__name__]


def wait_for(what: Any, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)


class Workers:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "store"
        self.all: list[Any] = []

    def start(self, name: str, *, hold: bool = False) -> tuple[Any, Path]:
        log = self.folder / f"{name}.jsonl"
        process = multiprocessing.get_context("fork").Process(target=work, args=(self.store, log, hold))
        process.start()
        self.all.append(process)
        return process, log

    def go(self) -> None:
        (self.store / "go").touch()

    def is_complete(self) -> bool:
        return len(Store(self.store).keys()) == 2


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    found = Workers(tmp_path)
    yield found
    for process in found.all:
        if process.is_alive():
            process.kill()
        process.join()


def test_two_processes_one_makes_and_the_other_takes_it(workers: Workers) -> None:
    one, first = workers.start("first", hold=True)
    wait_for(lambda: steps(first))
    two, second = workers.start("second")
    wait_for(lambda: waits(second))
    workers.go()
    for process in (one, two):
        process.join(60)
        assert process.exitcode == 0
    assert steps(first) == list(range(1, 13))
    assert steps(second) == []
    waited = waits(second)
    assert {e["stage"] for e in waited} <= {"source", "sink"}
    assert f"process {one.pid}" in waited[0]["holder"]
    finished = {e["stage"]: e["cached"] for e in events(second) if e["event"] == StageFinished.__name__}
    assert finished["source"] is True
    assert len([e for e in events(second) if e["event"] == StageFinished.__name__]) == 2
    assert workers.is_complete()
    left = [path for path in (workers.store / "partial").rglob("*") if path.is_file()]
    assert not left, "of half-made work nothing stays but, at most, the empty folder that was waited at"


def test_a_killed_owner_is_followed_at_once_from_its_checkpoint(workers: Workers) -> None:
    one, first = workers.start("first", hold=True)
    wait_for(lambda: len(steps(first)) == 4)
    two, second = workers.start("second")
    wait_for(lambda: waits(second))
    os.kill(one.pid, signal.SIGKILL)
    killed = time.monotonic()
    one.join()
    wait_for(lambda: steps(second))
    assert time.monotonic() - killed < TIMEOUT
    two.join(60)
    assert two.exitcode == 0
    assert steps(second) == list(range(5, 13))
    assert workers.is_complete()


def test_a_frozen_owner_is_taken_over_from_and_does_no_harm_when_it_wakes(workers: Workers) -> None:
    one, first = workers.start("first", hold=True)
    wait_for(lambda: len(steps(first)) == 4)
    os.kill(one.pid, signal.SIGSTOP)
    frozen = time.monotonic()
    two, second = workers.start("second")
    two.join(60)
    assert time.monotonic() - frozen > TIMEOUT, "it might have been alive"
    assert steps(second) == list(range(5, 13))
    workers.go()
    os.kill(one.pid, signal.SIGCONT)
    for process in (one, two):
        process.join(60)
        assert process.exitcode == 0
    assert len(steps(first)) < 12, "it noticed"
    calm = Workers(workers.folder / "calm")
    calm.folder.mkdir()
    three, _ = calm.start("calm")
    three.join(60)
    assert [a.digest for a in Store(workers.store)] == [a.digest for a in Store(calm.store)]


def test_a_run_that_pauses_lets_go_at_once(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data: Any = toys.install(monkeypatch)
    chain = build_chain(PARTS, data, 0)
    store = Store(workers.store)
    running = run_chain("t", chain, store, data, device="cpu", threads=1, checkpoint_seconds=0)
    for _ in range(4):
        next(running)
    assert store.leases()
    running.close()  # type: ignore[attr-defined]
    assert store.leases() == {}
    two, second = workers.start("second")
    two.join(60)
    assert two.exitcode == 0
    assert steps(second)[0] == 5
    assert not waits(second)
