"""Two runs that need one key share the work; one that dies, stops or freezes holds nobody up for long."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import toys

from wsss.files import read_json, sha256_json, write_json
from wsss.pipeline.chains.chain import Part, build_chain
from wsss.pipeline.chains.execute import run_chain
from wsss.pipeline.events import StageFinished, StageWaiting, TrialProgress
from wsss.store.file_lease import FileLease, leases_at
from wsss.store.folder_store import Store
from wsss.store.lease import is_dead, this_process
from wsss.store.partial import Partial

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
    assert leases_at(folder / "lease")
    lease.release()
    assert not (folder / "lease").exists()


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


def test_of_all_that_take_a_stale_lease_one_has_it_however_late_the_others_come(folder: Path) -> None:
    """Each of them has seen the same stale lease; the second one comes when the first has long begun."""
    write_json(folder / "lease", elsewhere())
    takers = [FileLease(folder, timeout=0.3) for _ in range(3)]
    assert not any(taker.acquire() for taker in takers)
    assert takers[0].take_over({"they"})
    time.sleep(0.5)
    assert not takers[1].take_over({"they"}), "it looked before the first one took it"
    assert read_json(folder / "lease")["owner"] == takers[0].owner
    time.sleep(0.3)
    assert not takers[0].lost and not takers[2].take_over({"they"})
    takers[0].release()
    assert takers[2].acquire(), "it is free again"
    assert not takers[1].take_over({"they"}), "what it saw is long gone, and another one is there"
    assert read_json(folder / "lease")["owner"] == takers[2].owner
    takers[2].release()
    assert not list(folder.iterdir())


def test_a_taker_that_comes_in_the_middle_of_anothers_taking_goes_away(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_json(folder / "lease", elsewhere())
    first, second = FileLease(folder), FileLease(folder)
    write, answers = first._write, []

    def late() -> None:
        if not answers:
            answers.append(second.take_over({"they"}))
        write()

    monkeypatch.setattr(first, "_write", late)
    assert first.take_over({"they"})
    assert answers == [False]
    assert read_json(folder / "lease")["owner"] == first.owner
    first.release()


def take(folder: Path, gate: Any, answers: Any) -> None:
    lease = FileLease(folder, timeout=0.5)
    assert not lease.acquire()
    time.sleep(0.7)  # all of them have watched it long enough
    gate.wait()
    answers.put(lease.acquire())
    gate.wait()  # whoever has it keeps it until all have asked


@pytest.mark.parametrize("attempt", range(3))
def test_of_processes_that_take_a_stale_lease_at_once_one_has_it(folder: Path, attempt: int) -> None:
    write_json(folder / "lease", elsewhere())
    context = multiprocessing.get_context("fork")
    gate, answers = context.Barrier(6), context.Queue()
    takers = [context.Process(target=take, args=(folder, gate, answers)) for _ in range(6)]
    for taker in takers:
        taker.start()
    assert sorted(answers.get(timeout=60) for _ in takers) == [False] * 5 + [True]
    for taker in takers:
        taker.join(60)


def test_a_taker_that_dies_before_it_has_written_its_lease_is_followed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_json(folder / "lease", elsewhere())
    first, second = FileLease(folder, timeout=0.3), FileLease(folder, timeout=0.3)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    with monkeypatch.context() as context:
        context.setattr("wsss.store.lease.this_process", lambda: {**this_process(), "pid": child.pid})
        context.setattr(first, "_write", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            first.take_over({"they"})
    assert read_json(folder / "lease")["owner"] == "they"
    assert second.acquire(), "who took it over is dead, which is known at once on this machine"
    assert read_json(folder / "lease")["owner"] == second.owner
    second.release()


def test_a_file_system_without_links_has_one_taker_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    first, second = FileLease(folder), FileLease(folder)
    assert first.acquire() and not second.take_over(set())
    write_json(folder / "lease", elsewhere())
    assert second.take_over({"they"}) and not first.take_over({"they"})
    assert read_json(folder / "lease")["owner"] == second.owner
    second.release()


@pytest.mark.parametrize("ahead", [-3e7, 0.0, 3e7])
def test_a_claim_on_an_artefact_compares_no_clocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    """The file server's clock is a year ahead of this machine's, or behind it."""
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + ahead)
    store, other = Store(tmp_path, lease_timeout=0.5), Store(tmp_path, lease_timeout=0.5)
    claim = tmp_path / "clearing" / KEY
    with store._alone(KEY):
        began = time.monotonic()
        late = threading.Timer(1.5, lambda: None)
        late.start()
        entered = threading.Event()

        def wait() -> None:
            with other._alone(KEY):
                entered.set()

        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not entered.wait(1.2), "a claim that lives is waited for, longer than a lease too"
    assert entered.wait(20)
    waiting.join()
    late.cancel()
    write_json(claim / "lease", elsewhere(time=now() + ahead))
    began = time.monotonic()
    with store._alone(KEY):
        assert 0.4 < time.monotonic() - began < 20, (
            "one of another machine that died, no shorter than its lease"
        )
    assert not claim.exists()


class _Late(Store):
    """Begins to work on what another run finishes in the same moment."""

    finish: Any = None

    def partial(self, key: str, *, inputs: Sequence[str] = ()) -> Partial:
        if self.known(key) is None:
            self.finish()
        return super().partial(key, inputs=inputs)


def test_what_another_run_finishes_in_the_moment_of_beginning_leaves_no_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data: Any = toys.install(monkeypatch)
    chain = build_chain(PARTS, data, 0)
    late = _Late(tmp_path)
    late.finish = lambda: list(run_chain("first", chain, Store(tmp_path), data, device="cpu", threads=1))
    list(run_chain("second", chain, late, data, device="cpu", threads=1))
    assert all(late.has(node.key) for node in chain.nodes)
    assert late.half_made() == []


def test_of_holders_that_died_one_after_the_other_nothing_is_left(folder: Path) -> None:
    dead = {"pid": 2**22 + 1, **{name: this_process()[name] for name in ("host", "started")}}
    write_json(folder / "lease", {"owner": "second", **dead})
    write_json(folder / "lease.after-first", {"owner": "second", **dead})
    lease = FileLease(folder)
    assert lease.acquire()
    lease.release()
    assert list(folder.iterdir()) == []
