"""What is deleted, and above all what is not: what a kept trial, a running study or a lease needs."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from s3_server import s3_address
from store_contract import make, number

from wsss.files import sha256_json, write_json
from wsss.pipeline.past.retention import evict_unkept, prune, wanted_keys
from wsss.store.objects.storage import ObjectStorage
from wsss.store.storage import Storage

KEYS = {name: sha256_json(name) for name in ("kept", "dropped", "scores", "running", "input", "nobody")}
Open = Callable[[], Storage]


@pytest.fixture(params=["folder", "s3"])
def open(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    if request.param == "folder":
        return lambda: Storage(tmp_path, tmp_path)
    uri = s3_address(request.getfixturevalue("s3"))
    machines = itertools.count()
    return lambda: ObjectStorage(uri, cache=tmp_path / f"cache-{next(machines)}")


def trial(storage: Storage, study: str, sweep: str, id: str, **keys: str) -> None:
    fixed: dict[str, Any] = {"arm": "a", "seed": 0, "params": {}, "configuration": id, "upstream": ""}
    storage.ledger(study).append("trial", id=id, sweep=sweep, keys=keys, method="cam", backbone="r", **fixed)


def fill(storage: Storage) -> None:
    """Two studies: `done` kept one of two trials, `running` is in the middle of its sweep."""
    for name, key in KEYS.items():
        make(storage.store, key, name.encode(), stage="scores" if name == "scores" else "toy")
    trial(storage, "done", "cam", "cam-000", stage=KEYS["kept"])
    trial(storage, "done", "cam", "cam-001", stage=KEYS["dropped"], scores=KEYS["scores"])
    storage.ledger("done").append("kept", sweep="cam", ids=["cam-000"], keys=[KEYS["kept"]])
    trial(storage, "running", "cam", "cam-000", stage=KEYS["running"])


def files_of(storage: Storage) -> set[str]:
    return {name for name, key in KEYS.items() if storage.store.has(key)}


def test_files_of_trials_not_kept_go_but_records_and_scores_stay(open: Open) -> None:
    fill(open())
    assert wanted_keys(open()) == {KEYS["kept"], KEYS["running"]}
    with open().store.partial(sha256_json("child"), inputs=[KEYS["input"]]):
        freed = evict_unkept(open())
        assert files_of(open()) == {"kept", "scores", "running", "input"}
    assert freed == len(b"dropped") + len(b"nobody")
    known = open().store.known(KEYS["dropped"])
    assert known is not None and known.evicted and known.record["stage"] == "toy"


def test_while_a_ledger_is_lost_nothing_goes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A power cut may leave a file of zeros: nobody knows which artefacts the study needs."""
    storage = Storage(tmp_path, tmp_path)
    fill(storage)
    ledger = storage.ledger("running").path
    whole = ledger.read_bytes()
    storage.write_note("running", "data.json", "{}")  # work has begun
    for content in (bytes(len(whole)), b"[1]", whole.decode().encode("utf-16"), b"", None):
        ledger.unlink() if content is None else ledger.write_bytes(content)
        storage.write_study("running", "name: running\nretain: kept\n")
        assert not any("not kept" in what for what in prune(storage, dry_run=False))
        assert evict_unkept(storage) == 0 and files_of(storage) == {*KEYS}
    assert "running: its ledger is gone or can't be read at all" in caplog.text
    trial(storage, "running", "cam", "cam-000", stage=KEYS["running"])  # as `run` does
    evict_unkept(Storage(tmp_path, tmp_path))
    assert files_of(storage) == {"kept", "scores", "running"}


def test_half_made_artefacts_of_stopped_trials_go(open: Open) -> None:
    storage = open()
    stopped, other = sha256_json("stopped"), sha256_json("other")
    for key in (stopped, other):
        with storage.store.partial(key) as partial:
            partial.save(1, number(1), {"inputs": {}})
    trial(storage, "s", "cam", "cam-000", stage=stopped)
    storage.ledger("s").append("end", id="cam-000", status="stopped", metrics={}, error="", seconds=1.0)
    evict_unkept(storage)
    assert {leftover.name for leftover in open().store.half_made()} == {stopped, other}, "not ended yet"
    storage.ledger("s").append("kept", sweep="cam", ids=[], keys=[])
    with open().store.partial(stopped):
        evict_unkept(open())
        assert {leftover.name for leftover in open().store.half_made()} == {stopped, other}
    assert evict_unkept(storage) > 0
    assert {leftover.name for leftover in open().store.half_made()} == {other}


def test_a_sweep_that_is_run_again_is_open_again(open: Open) -> None:
    storage = open()
    fill(storage)
    trial(storage, "done", "cam", "cam-000", stage=KEYS["nobody"])
    assert wanted_keys(storage) == {KEYS["kept"], KEYS["running"], KEYS["nobody"]}
    storage.ledger("done").append("kept", sweep="cam", ids=["cam-000"], keys=[KEYS["nobody"]])
    assert wanted_keys(storage) == {KEYS["running"], KEYS["nobody"]}


def test_a_dry_run_says_the_same_and_deletes_nothing(open: Open) -> None:
    fill(open())
    with open().store.partial(sha256_json("begun")) as partial:
        partial.save(1, number(1), {"inputs": {}})
    open().store.set_aside(KEYS["nobody"])
    before = files_of(open())
    said = prune(open(), dry_run=True, timeout=0.1)
    assert files_of(open()) == before and open().store.half_made() and open().store.damaged()
    assert {what.split(",")[0].split(" ")[0] for what in said} >= {"toy", "half-made", "damaged"}
    did = prune(open(), dry_run=False, timeout=0.1)
    assert did == said
    assert files_of(open()) == {"kept", "scores", "running"}
    assert open().store.half_made() == [] and open().store.damaged() == []


def test_what_is_being_made_stays_even_when_it_is_made_elsewhere(open: Open) -> None:
    """The other machine's clock is a year ahead; that it lives is seen from its lease."""
    storage, live, dead = open(), sha256_json("live"), sha256_json("dead")
    for key in (live, dead):
        with storage.store.partial(key) as partial:
            partial.save(1, number(1), {"inputs": {}})
    stop = threading.Event()

    def lease(key: str, beat: int) -> None:
        about = {"owner": "0-they", "host": "other", "pid": 1, "beat": beat, "time": time.time() + 3e7}
        if isinstance(storage, ObjectStorage):
            text = str(about).replace("'", '"').encode()
            storage.objects.write(f"store/partial/{key}/lease", text)
        else:
            write_json(storage.store.root / "partial" / key / "lease", about)

    def beat() -> None:
        for count in itertools.count(2):
            if stop.wait(0.2):
                return
            lease(live, count)

    lease(live, 1)
    lease(dead, 1)
    thread = threading.Thread(target=beat)
    thread.start()
    try:
        prune(open(), dry_run=False, timeout=2)
    finally:
        stop.set()
        thread.join()
    left = {leftover.name for leftover in open().store.half_made()}
    assert left == {live}


def test_what_this_machine_is_making_stays_without_waiting(open: Open) -> None:
    key = sha256_json("mine")
    with open().store.partial(key) as partial:
        partial.save(1, number(1), {"inputs": {}})
        began = time.monotonic()
        prune(open(), dry_run=False, timeout=600)
        assert time.monotonic() - began < 60
        assert key in {leftover.name for leftover in open().store.half_made()}
        assert not partial.lost


def test_a_study_that_began_while_files_are_deleted_keeps_its_own(
    open: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another study asks for an artefact after the deleting has begun and before it comes to it."""
    monkeypatch.setattr("wsss.pipeline.past.retention.FRESH_SECONDS", 0)
    storage = open()
    first, last = sorted(sha256_json(n) for n in range(2))
    for key in (first, last):
        make(storage.store, key)
    evict = storage.store.evict

    def evict_and_begin(key: str) -> int:
        if key == first:
            trial(open(), "new", "cam", "cam-000", stage=last)
        return evict(key)

    monkeypatch.setattr(storage.store, "evict", evict_and_begin)
    evict_unkept(storage)
    assert not open().store.has(first) and open().store.has(last)


@pytest.mark.parametrize("text", ["name: done\nretain: all\n", "name: done\nreta"])
def test_a_study_that_retains_all_does_so_when_others_delete_theirs(open: Open, text: str) -> None:
    """Also one whose file is damaged: nobody knows. `storage prune` is asked for, and deletes it."""
    storage = open()
    fill(storage)
    storage.write_study("done", text)
    evict_unkept(open())
    assert files_of(open()) == {"kept", "dropped", "scores", "running"}
    prune(open(), dry_run=False, timeout=0.1)
    assert files_of(open()) == {"kept", "scores", "running"}


def test_checkpoints_of_a_trial_that_has_not_ended_stay(open: Open) -> None:
    """A study that was interrupted, or a trial that failed, goes on from them; a private copy is of no use."""
    storage = open()
    names = ("interrupted", "failed", "ended")
    keys = {name: sha256_json(name) for name in names}
    for name in names:
        with storage.store.partial(keys[name]) as partial:
            partial.save(1, number(1), {"inputs": {}})
    trial(storage, "a", "cam", "cam-000", stage=keys["failed"])
    trial(storage, "a", "cam", "cam-001", stage=keys["ended"])
    end = {"metrics": {}, "error": "", "seconds": 1.0}
    storage.ledger("a").append("end", id="cam-000", status="failed", **end)
    storage.ledger("a").append("end", id="cam-001", status="stopped", **end)
    storage.ledger("a").append("kept", sweep="cam", ids=[], keys=[])
    trial(storage, "b", "cam", "cam-000", stage=keys["interrupted"])
    said = prune(open(), dry_run=True, timeout=0.1)
    assert prune(open(), dry_run=False, timeout=0.1) == said
    assert {leftover.name for leftover in open().store.half_made()} == {keys["interrupted"], keys["failed"]}


def test_trials_that_a_failed_seed_ranks_anew_keep_their_files_until_it_has_ended(open: Open) -> None:
    """Two configurations, two seeds each; one seed failed, so that means, and what is kept, may change."""
    storage = open()
    names = ("one-s0", "one-s1", "two-s0", "two-s1", "other")
    keys = {name: sha256_json(name) for name in names}
    fixed: dict[str, Any] = {"params": {}, "upstream": "", "method": "cam", "backbone": "r", "seed": 0}
    ledger = storage.ledger("s")

    def begin(name: str, arm: str = "a") -> None:
        configuration = name.partition("-")[0]
        ledger.append(
            "trial",
            id=name,
            sweep="cam",
            arm=arm,
            configuration=configuration,
            keys={"stage": keys[name]},
            **fixed,
        )

    def end(name: str, status: str) -> None:
        ledger.append("end", id=name, status=status, metrics={}, error="", seconds=1.0)

    for name in names:
        begin(name, "b" if name == "other" else "a")
        end(name, "failed" if name == "two-s1" else "done")
    ledger.append("kept", sweep="cam", ids=["one-s0"], keys=[keys["one-s0"]])
    assert wanted_keys(open()) == {keys[name] for name in names if name != "other"}
    begin("two-s1")
    end("two-s1", "done")
    ledger.append("kept", sweep="cam", ids=["two-s0"], keys=[keys["two-s0"]])
    assert wanted_keys(open()) == {keys["two-s0"]}
