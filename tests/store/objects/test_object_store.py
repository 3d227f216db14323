"""What only an object storage has to promise: uploads cut short, bounded copies, ledgers of many objects."""

from __future__ import annotations

import contextlib
import itertools
import json
import multiprocessing
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import toys
from s3_server import s3_address
from store_contract import KEY, OTHER, make, number

from wsss.errors import ConfigError, PreflightError, Problem, StorageError
from wsss.files import sha256_json
from wsss.pipeline.chains.chain import Part, build_chain
from wsss.pipeline.chains.execute import run_chain
from wsss.pipeline.events import TrialProgress
from wsss.store.objects.client import Objects
from wsss.store.objects.lease import ObjectLease
from wsss.store.objects.storage import ObjectStorage
from wsss.store.objects.store import ObjectStore
from wsss.store.storage import open_storage


@pytest.fixture
def uri(s3: str) -> str:
    return s3_address(s3)


@pytest.fixture
def store(uri: str, tmp_path: Path) -> ObjectStore:
    return ObjectStore(Objects(uri), tmp_path / "cache")


def names(store: ObjectStore) -> list[str]:
    return [one.name for one in store.objects.below("")]


def entry_name(key: str = KEY) -> str:
    return f"store/{key[:2]}/{key}/artefact.json"


def test_the_entry_names_the_attempt_whose_files_count(store: ObjectStore) -> None:
    make(store)
    about = json.loads(store.objects.read(entry_name()) or b"")
    assert about["state"] == "whole" and about["record"]["stage"] == "toy"
    assert names(store) == sorted([entry_name(), f"store/{KEY[:2]}/{KEY}/{about['attempt']}/sub/file.bin"])


class _Cut(Objects):
    """Ends the process, as a power cut would, before the entry is written."""

    def create(self, name: str, content: bytes) -> str | None:
        if name.endswith("artefact.json"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().create(name, content)


def _commit_and_die(uri: str, cache: Path) -> None:
    make(ObjectStore(_Cut(uri), cache))


def test_an_upload_that_was_cut_short_is_no_artefact(uri: str, store: ObjectStore, tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(
        target=_commit_and_die, args=(uri, tmp_path / "theirs")
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert any(name.endswith("sub/file.bin") for name in names(store)), "something was uploaded"
    assert store.get(KEY) is None and store.known(KEY) is None and store.keys() == []
    assert store.damaged() == [], "as long as its lease is there, it may be about to finish"
    assert make(store).record["files"]["sub/file.bin"]["bytes"] == 7
    (left,) = store.damaged()
    assert left.bytes == 7
    left.remove()
    assert store.damaged() == [] and len(names(store)) == 2
    assert ObjectStore(Objects(uri), tmp_path / "again").get(KEY, thorough=True) is not None


def test_a_writer_whose_request_was_carried_out_and_whose_answer_was_lost_has_won(store: ObjectStore) -> None:
    """obstore sends the request again then, and the storage refuses it: the object exists."""
    first = store.objects.create("a", b"mine")
    assert first and store.objects.create("a", b"mine") == first
    assert store.objects.create("a", b"theirs") is None
    second = store.objects.replace("a", b"again", first)
    assert second and store.objects.replace("a", b"again", first) == second
    assert store.objects.replace("a", b"late", first) is None
    assert store.objects.replace("none", b"x", first) is None


def test_an_eviction_that_was_killed_is_finished_by_the_next(store: ObjectStore, tmp_path: Path) -> None:
    make(store)
    entry = store.entries.get(KEY, fresh=True)
    assert entry is not None and store.entries.turn(KEY, entry, "evicted")  # and here it was killed
    other = ObjectStore(store.objects, tmp_path / "other")
    known = other.known(KEY)
    assert other.get(KEY) is None and known is not None and known.evicted
    assert [left.bytes for left in other.damaged()] == [7] and other.left(KEY) == 7
    assert other.evict(KEY) == 7 and other.left(KEY) is None and other.evict(KEY) == 0
    assert names(other) == [entry_name()]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[1]",
        b"{}",
        b'{"state": "whole"}',
        b"\xff",
        b'{"state": 1, "attempt": 2, "record": {"files": 3}}',
    ],
)
def test_an_unreadable_entry_counts_as_damaged_and_is_made_again(
    store: ObjectStore, content: bytes, tmp_path: Path
) -> None:
    store.objects.write(entry_name(), content)
    assert store.known(KEY) is None and store.get(KEY) is None and not store.has(KEY)
    assert make(store).digest
    assert ObjectStore(store.objects, tmp_path / "other").get(KEY) is not None


def test_what_a_killed_download_has_left_on_this_machine_goes(store: ObjectStore) -> None:
    mine, theirs = (store.root / "incoming" / f"{pid}-0" for pid in (os.getpid(), 2**22 + 1))
    for folder in (mine, theirs):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"1234")
    left = store.damaged()
    assert [(one.name, one.bytes) for one in left] == [(theirs.name, 4)]
    for one in left:
        one.remove()
    assert store.damaged() == [] and mine.exists()


class _Slow(Objects):
    """Takes its time, another one each time."""

    def __init__(self, uri: str, seed: int) -> None:
        super().__init__(uri)
        self._random = random.Random(seed)

    @contextlib.contextmanager
    def _asking(self, what: str, name: str) -> Iterator[None]:
        time.sleep(self._random.random() ** 4 * 0.4)
        with super()._asking(what, name):
            yield
        time.sleep(self._random.random() ** 4 * 0.4)


@pytest.mark.parametrize("seed", range(6))
def test_writers_at_once_and_readers_meanwhile_agree_on_one_version(
    uri: str, tmp_path: Path, seed: int
) -> None:
    stores = [ObjectStore(_Slow(uri, 10 * seed + place), tmp_path / f"{place}") for place in range(6)]
    writers, readers = stores[:3], stores[3:]
    seen: list[str] = []
    made: list[str] = []
    done = threading.Event()

    def write(place: int) -> None:
        folder = tmp_path / f"own-{place}"
        folder.mkdir(parents=True)
        (folder / "file.bin").write_bytes(bytes([place]) * 1000)
        record = {"stage": "toy", "inputs": {}, "seconds": 0.0}
        made.append(writers[place].commit(KEY, folder, record).digest)  # none of them holds a lease

    def read(store: ObjectStore) -> None:
        while not done.is_set():
            found = store.get(KEY)
            if found is not None:
                seen.append(found.digest)

    reading = [threading.Thread(target=read, args=(store,)) for store in readers]
    writing = [threading.Thread(target=write, args=(place,)) for place in range(len(writers))]
    for thread in [*reading, *writing]:
        thread.start()
    for thread in writing:
        thread.join()
    done.set()
    for thread in reading:
        thread.join()
    assert len(made) == len(writers) and len({*made, *seen}) == 1
    last = ObjectStore(Objects(uri), tmp_path / "last").get(KEY, thorough=True)
    assert last is not None and last.digest == made[0]


def test_a_damaged_copy_on_this_machine_is_copied_again(store: ObjectStore) -> None:
    path = make(store).folder / "sub/file.bin"
    path.unlink()
    path.write_bytes(b"CONTENT")
    fresh = ObjectStore(store.objects, store.root.parent)
    found = fresh.get(KEY, thorough=True)
    assert found is not None and path.read_bytes() == b"content"


def test_a_copy_is_compared_whenever_a_number_is_taken_from_it(store: ObjectStore) -> None:
    folder = store.root / "made"
    folder.mkdir(parents=True)
    (folder / "scores.json").write_text('{"miou": 0.159}')
    store.commit(KEY, folder, {"stage": "scores", "inputs": {}, "seconds": 0.0})
    for other in (store, ObjectStore(store.objects, store.root.parent)):
        (store.folder(KEY) / "scores.json").write_text('{"miou": 0.959}')
        assert other.read_json(KEY, "scores.json") == {"miou": 0.159}


def test_notes_of_records_and_entries_on_this_machine_are_compared(uri: str, tmp_path: Path) -> None:
    storage = ObjectStorage(uri, cache=tmp_path / "one")
    make(storage.store, KEY, history=[{"mAP": 0.159}])
    storage.ledger("s").append("note", miou=0.159)
    assert list(storage.ledger("s").entries()) and storage.store.known(KEY)
    notes = [
        p for p in (tmp_path / "one").rglob("*.json") if b"0.159" in p.read_bytes() and "store" not in p.parts
    ]
    assert len(notes) == 2
    for note in notes:
        note.write_bytes(note.read_bytes().replace(b"0.159", b"0.959"))
    again = ObjectStorage(uri, cache=tmp_path / "one")
    (known,) = again.store
    assert known.record["history"] == [{"mAP": 0.159}]
    assert [entry["miou"] for entry in again.ledger("s").entries()] == [0.159]


@pytest.mark.parametrize("content", [b"[1]", b"", b"\xff\xfe{", b'{"stage": "toy"}', None])
def test_a_record_in_the_storage_that_has_changed_is_set_aside(
    store: ObjectStore, tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    make(store, KEY, history=[{"mAP": 0.159}])
    (name,) = [name for name in names(store) if name.endswith("artefact.json")]
    whole = store.objects.read(name) or b""
    store.objects.write(name, whole.replace(b"0.159", b"0.959") if content is None else content)
    fresh = ObjectStore(store.objects, tmp_path / "another")
    assert fresh.known(KEY) is None and fresh.get(KEY) is None and not fresh.has(KEY)
    assert [message for message in caplog.messages if "artefact.json" in message]
    assert make(fresh).digest and len(fresh.damaged()) == 1
    assert ObjectStore(store.objects, tmp_path / "third").get(KEY, thorough=True) is not None


def test_when_a_copy_was_used_is_told_by_one_clock(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache may be on a file server, whose clock is a year behind."""
    make(store)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3e7)
    assert store.cache.trim(0) == 7, "it was used a moment ago"
    store.cache.grace = 0
    assert store.cache.trim(0) == 0


def test_what_exists_is_known_without_copying_it(store: ObjectStore, tmp_path: Path) -> None:
    make(store)
    fresh = ObjectStore(store.objects, tmp_path / "another")
    assert fresh.has(KEY) and [a.key for a in fresh] == [KEY]
    assert not fresh.folder(KEY).exists()


def test_copies_are_bounded_and_the_oldest_go_first(store: ObjectStore, tmp_path: Path) -> None:
    keys = [sha256_json(n) for n in range(4)]
    for key in keys:
        make(store, key, bytes(1000))
    small = ObjectStore(store.objects, tmp_path / "small", limit=2500)
    small.cache.grace = 0
    for key in keys[:2]:
        assert small.get(key) is not None
        time.sleep(0.02)
    with small.using([keys[0]]):
        assert small.get(keys[2]) is not None
        assert [small.folder(key).exists() for key in keys] == [True, False, True, False]
    time.sleep(0.02)
    assert small.get(keys[3]) is not None
    assert [small.folder(key).exists() for key in keys] == [False, False, True, True]
    assert small.get(keys[0], thorough=True) is not None, "what was deleted here is copied again"


def test_a_run_on_another_machine_goes_on_where_this_one_died(
    uri: str, store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data: Any = toys.install(monkeypatch)
    parts = [
        Part("source", "source", toys.ToyParams(length=6)),
        Part("sink", "sink", toys.ToyParams(length=4)),
    ]
    chain = build_chain(parts, data, 0)

    def run(on: ObjectStore) -> Any:
        return run_chain(
            "t", chain, on, data, device="cpu", threads=1, checkpoint_seconds=0, poll_seconds=0.01
        )

    for stop in (3, 9, None):  # in the middle of source, of sink; at the end
        machine = ObjectStore(Objects(uri), tmp_path / f"machine-{stop}")
        events = run(machine)
        for _ in itertools.islice(events, stop):
            pass
        events.close()
    assert len(toys.Source.made) == len(set(toys.Source.made)) == 10, "no step was done twice"
    calm = ObjectStore(
        Objects(s3_address(uri.partition("override=")[2].partition("&")[0])), tmp_path / "calm"
    )
    assert sum(isinstance(event, TrialProgress) for event in run(calm)) == 10
    found = ObjectStore(Objects(uri), tmp_path / "reader")
    assert [a.digest for a in found] == [a.digest for a in calm]
    assert not [name for name in names(found) if "/partial/" in name]


def test_an_upload_of_a_checkpoint_that_was_cut_short_is_passed_over(
    store: ObjectStore, tmp_path: Path
) -> None:
    with store.partial(KEY) as partial:
        partial.upload_seconds = 0
        for step in (1, 2):
            partial.save(step, number(step), {"inputs": {}})
    newest = next(name for name in names(store) if name.endswith("step-000002/state"))
    store.objects.write(newest, b"9")
    with ObjectStore(store.objects, tmp_path / "another").partial(KEY) as partial:
        found = partial.newest()
        assert found is not None and found[0] == 1
        assert (found[1] / "state").read_text() == "1"


def test_checkpoints_are_not_uploaded_all_the_time(store: ObjectStore) -> None:
    with store.partial(KEY) as partial:
        for step in range(1, 6):
            partial.save(step, number(step), {"inputs": {}})
        uploaded = {name.split("/")[4] for name in names(store) if "/step-" in name}
        assert uploaded == {"step-000001"}
    uploaded = {name.split("/")[4] for name in names(store) if "/step-" in name}
    assert "step-000005" in uploaded, "who stops leaves its newest one"


def test_a_lease_elsewhere_is_waited_for_until_it_goes_stale(store: ObjectStore) -> None:
    place = f"store/partial/{KEY}/lease"
    mine = ObjectLease(store.objects, f"store/partial/{KEY}", timeout=0.8)
    for beat in range(6):
        store.objects.write(place, b'{"owner": "0000-they", "host": "other", "beat": %d}' % beat)
        assert not mine.acquire()
        time.sleep(0.2)
    time.sleep(0.9)
    assert mine.acquire()
    assert mine.owner.encode() in (store.objects.read(place) or b"")
    time.sleep(0.3)
    assert not mine.lost
    store.objects.delete(place)
    deadline = time.monotonic() + 20
    while not mine.lost and time.monotonic() < deadline:
        time.sleep(0.1)
    assert mine.lost
    mine.release()


def test_two_drivers_write_one_ledger_and_both_are_read_in_order(uri: str, tmp_path: Path) -> None:
    one, two = (ObjectStorage(uri, cache=tmp_path / name) for name in ("one", "two"))
    first, second = one.ledger("s"), two.ledger("s")
    assert not first.exists()
    for number_ in range(3):
        first.append("note", n=f"a{number_}")
    stamp = second.stamp()
    second.append("note", n="b0")
    first.append("note", n="a3")
    assert first.exists() and first.stamp() != stamp
    entries = [entry["n"] for entry in ObjectStorage(uri, cache=tmp_path / "three").ledger("s").entries()]
    assert entries[:3] == ["a0", "a1", "a2"] and set(entries[3:]) == {"b0", "a3"}
    assert [entry["n"] for entry in first.entries()] == entries
    third = ObjectStorage(uri, cache=tmp_path / "four").ledger("s")
    third.append("note", n="c0")
    assert [entry["n"] for entry in second.entries()] == [*entries, "c0"]
    one.objects.write("studies/s/ledger/00000009.json", b'{"type": "no')
    assert [entry["n"] for entry in third.entries()] == [*entries, "c0"]


def test_a_study_file_is_found_by_name(uri: str, tmp_path: Path) -> None:
    storage = ObjectStorage(uri, cache=tmp_path / "one")
    assert storage.study_names() == [] and storage.study_text("s") is None
    storage.write_study("s", "name: s\n")
    again = ObjectStorage(uri, cache=tmp_path / "two")
    assert again.study_names() == ["s"] and again.study_text("s") == "name: s\n"
    with pytest.raises(ConfigError, match="no study is named 't'"):
        again.require("t")


def test_a_storage_that_does_not_answer_is_named(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSSS_CACHE", str(tmp_path))
    storage = open_storage(f"s3://nobucket/x?endpoint_override={s3}&scheme=http")
    with pytest.raises(PreflightError, match=r"s3://nobucket/x/probe-\w+: can't be written: .*bucket"):
        storage.check()
    with pytest.raises(StorageError, match=r"s3://nobucket/x/studies/s/study.yaml: can't be written"):
        storage.write_study("s", "")
    with pytest.raises(PreflightError, match=r"hdfs://nowhere.*can't be used as a storage"):
        open_storage("hdfs://nowhere:1/x")


class _Proxy(ThreadingHTTPServer):
    """Stands before a server and answers the first two requests for everything with 503."""

    def __init__(self, server: str) -> None:
        self.behind = server
        self.failures = 0
        self.asked: Counter[tuple[str, str]] = Counter()
        super().__init__(("127.0.0.1", 0), _Forward)


class _Forward(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _forward(self) -> None:
        server = self.server
        assert isinstance(server, _Proxy)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server.asked[self.command, self.path] += 1
        if server.asked[self.command, self.path] <= 2:
            server.failures += 1
            self._answer(503, {}, b"")
            return
        connection = HTTPConnection(server.behind, timeout=30)
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        self._answer(answer.status, dict(answer.getheaders()), answer.read())

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "connection", "transfer-encoding", "date", "server"):
                self.send_header(name, value)
        self.send_header(
            "Content-Length",
            headers.get("Content-Length", str(len(content))) if self.command == "HEAD" else str(len(content)),
        )
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _forward

    def log_message(self, format: str, *args: object) -> None: ...


def test_a_network_that_fails_now_and_then_is_tried_again(uri: str, s3: str, tmp_path: Path) -> None:
    with _Proxy(s3) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        through = uri.replace(s3, f"127.0.0.1:{proxy.server_address[1]}")
        store = ObjectStore(Objects(through, pause=0.001), tmp_path / "cache")
        make(store)
        make(store, OTHER)
        assert proxy.failures > 10
        assert ObjectStore(Objects(through, pause=0.001), tmp_path / "b").get(KEY, thorough=True) is not None
        with pytest.raises(StorageError, match=r"can't be read: .*\(1 tries\)"):
            Objects(through, tries=1).read("never/asked/before")
        proxy.shutdown()


@pytest.mark.parametrize("query", ["endpoint_overide=x:1", "secret=1"])
def test_an_option_that_there_is_not_is_refused(query: str) -> None:
    with pytest.raises(PreflightError, match="has an option"):
        Objects(f"s3://bucket/x?{query}")


def test_what_an_older_version_wrote_is_refused(uri: str, tmp_path: Path) -> None:
    Objects(uri).write(f"store/{KEY[:2]}/{KEY}/0000-they/artefact.json", b"{}")
    Objects(uri).write("studies/s/ledger/00000001-1234abcd.json", b"{}")
    storage = ObjectStorage(uri, cache=tmp_path)
    for read in (storage.store.keys, storage.ledger("s").exists, storage.ledger("s").trials):
        with pytest.raises(PreflightError, match=r"older version.*start anew under another prefix"):
            read()


class _Careless(Objects):
    """A storage that ignores conditions."""

    def create(self, name: str, content: bytes) -> str | None:
        self.write(name, content)
        return "1"


def test_a_storage_without_conditional_puts_is_refused_before_work_starts(uri: str, tmp_path: Path) -> None:
    storage = ObjectStorage(uri, cache=tmp_path)
    storage.check()
    storage.objects = _Careless(uri)
    with pytest.raises(PreflightError, match="conditional put"):
        storage.check()


def test_a_ledger_that_was_begun_anew_is_not_read_from_copies_of_the_old_one(
    uri: str, tmp_path: Path
) -> None:
    storage = ObjectStorage(uri, cache=tmp_path / "cache")
    storage.ledger("s").append("begin", id="old")
    assert [entry["id"] for entry in storage.ledger("s").entries()] == ["old"]
    storage.objects.delete(*(one.name for one in storage.objects.below("studies")))
    ObjectStorage(uri, cache=tmp_path / "elsewhere").ledger("s").append("begin", id="new")
    assert [entry["id"] for entry in storage.ledger("s").entries()] == ["new"]


def test_what_could_not_be_marked_as_damaged_is_replaced_by_what_is_made_again(store: ObjectStore) -> None:
    make(store)
    place = f"{entry_name().rpartition('/')[0]}/"
    file = next(name for name in names(store) if name.startswith(place) and name.endswith("file.bin"))
    store.objects.write(file, b"CONTENT")
    store.cache.drop(KEY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store.entries, "turn", _away)
        assert store.get(KEY) is None
    again = threading.Thread(target=make, args=(store,), daemon=True)
    again.start()
    again.join(60)
    assert not again.is_alive(), "the commit does not end"
    found = store.get(KEY, thorough=True)
    assert found is not None and (found.folder / "sub" / "file.bin").read_bytes() == b"content"


def _away(*_: Any) -> bool:
    raise StorageError(Problem("s3://bucket", "can't be written"))


def test_a_sign_of_life_whose_answer_was_lost_does_not_cost_the_lease(store: ObjectStore) -> None:
    lease = ObjectLease(store.objects, "store/partial/x")
    assert lease.acquire()
    try:
        store.objects.write(lease.name, json.dumps(lease.content()).encode())  # it got there; no answer came
        assert lease.still_mine()
        assert lease.still_mine()
    finally:
        lease.release()
    assert store.objects.read(lease.name) is None


def test_work_on_this_machine_is_known_by_its_lease_in_the_storage(uri: str, tmp_path: Path) -> None:
    one, other = (ObjectStore(Objects(uri), tmp_path / "cache") for _ in range(2))
    with one.partial(KEY) as partial:
        [left] = other.half_made()
        assert left.leases()
        partial.save(1, number(1), {})
    [left] = other.half_made()
    assert not left.leases() and left.bytes > 0
    left.remove()
    assert other.half_made() == [] and not (one.root / "partial" / KEY).exists()


def test_files_of_an_artefact_that_is_finished_while_leftovers_are_listed_stay(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = ObjectStore(Objects(store.objects.uri), tmp_path / "elsewhere")
    below, made = store.objects.below, list[str]()

    def slow_below(prefix: str) -> Any:
        found = below(prefix)
        if not made:  # between the first listing and the second, another run begins and uploads
            made.append(prefix)
            busy.enter_context(elsewhere.partial(KEY))
            elsewhere.objects.write(f"store/{KEY[:2]}/{KEY}/{'0' * 32}/sub/file.bin", b"content")
        return found

    with contextlib.ExitStack() as busy:
        monkeypatch.setattr(store.objects, "below", slow_below)
        assert store.damaged() == []
