"""What every artefact store promises, wherever it keeps its artefacts. A kind of store is one subclass."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wsss.files import sha256_file, sha256_json
from wsss.store.artefact import Artefact
from wsss.store.folder_store import Store

KEY = sha256_json("one")
OTHER = sha256_json("two")
Open = Callable[..., Store]


def make(store: Store, key: str = KEY, content: bytes = b"content", **record: Any) -> Artefact:
    with store.partial(key) as partial:
        folder = partial.staging()
        (folder / "sub").mkdir()
        (folder / "sub" / "file.bin").write_bytes(content)
        artefact = store.commit(key, folder, {"stage": "toy", "inputs": {}, "seconds": 1.0, **record})
        partial.remove()
    return artefact


def number(value: int) -> Callable[[Path], Any]:
    return lambda folder: (folder / "state").write_text(str(value))


class StoreContract(ABC):
    """Subclasses give `open`: a function that returns a new store on one and the same storage, which
    shares nothing with the others but the storage (another process; another machine)."""

    @pytest.fixture
    @abstractmethod
    def open(self, tmp_path: Path) -> Open: ...

    @abstractmethod
    def damage(self, store: Store, key: str, content: bytes | None) -> None:
        """Replace the bytes of sub/file.bin, or delete it, behind the store's back."""

    def left_aside(self, content: bytes | None) -> int:
        """Return how many leftovers a damaged artefact is, whose one file has this content."""
        return 1

    def test_what_was_committed_is_there_for_everybody(self, open: Open) -> None:
        store, elsewhere = open(), open()
        assert store.get(KEY) is None
        assert not store.has(KEY)
        assert elsewhere.known(KEY) is None
        artefact = make(store)
        for reader in (store, elsewhere, open()):
            found = reader.get(KEY, thorough=True)
            assert found is not None
            assert reader.has(KEY)
            assert found.record == artefact.record and found.digest == artefact.digest
            assert (found.folder / "sub/file.bin").read_bytes() == b"content"
            facts = found.record["files"]["sub/file.bin"]
            assert facts == {"bytes": 7, "sha256": sha256_file(found.folder / "sub/file.bin")}
            assert not found.evicted and found.bytes == 7 and found.stage == "toy"
        assert elsewhere.half_made() == []

    def test_first_commit_wins(self, open: Open) -> None:
        first = make(open())
        second = make(open(), KEY, b"later")
        assert second.digest == first.digest
        found = open().get(KEY)
        assert found is not None
        assert (found.folder / "sub/file.bin").read_bytes() == b"content"

    def test_of_two_writers_at_once_all_readers_see_the_same(self, open: Open) -> None:
        stores = [open() for _ in range(4)]
        gate = threading.Barrier(len(stores))
        made: list[str] = []

        def write(place: int) -> None:
            store = stores[place]
            folder = store.root / f"own-{place}"
            folder.mkdir(parents=True)
            (folder / "file.bin").write_bytes(bytes([place]) * 1000)
            gate.wait()
            made.append(store.commit(KEY, folder, {"stage": "toy", "inputs": {}, "seconds": 0.0}).digest)

        threads = [threading.Thread(target=write, args=(place,)) for place in range(len(stores))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(made) == len(stores)
        seen = {store.get(KEY, thorough=True).digest for store in [open(), open(), *stores]}  # type: ignore[union-attr]
        assert len(seen) == 1

    @pytest.mark.parametrize("content", [None, b"cont", b"CONTENT"])
    def test_a_damaged_artefact_is_set_aside_and_made_again(self, open: Open, content: bytes | None) -> None:
        make(open())
        self.damage(open(), KEY, content)
        store = open()
        assert store.get(KEY, thorough=True) is None
        assert not store.has(KEY)
        assert make(open()).digest == make(store, OTHER).digest
        assert open().get(KEY, thorough=True) is not None
        asides = open().damaged()
        assert [aside.name[: len(KEY)] for aside in asides] == [KEY] * self.left_aside(content)
        for aside in asides:
            aside.remove()
        assert open().damaged() == []
        assert open().get(KEY, thorough=True) is not None

    def test_eviction_keeps_the_record_and_a_new_commit_revives_it(self, open: Open) -> None:
        digest = make(open()).digest
        assert open().evict(KEY) == 7
        store = open()
        assert store.get(KEY) is None and not store.has(KEY)
        known = store.known(KEY)
        assert known is not None and known.evicted and known.digest == digest
        assert store.evict(KEY) == 0
        assert [(a.key, a.evicted) for a in store] == [(KEY, True)]
        assert not make(open()).evicted
        assert open().get(KEY, thorough=True) is not None

    def test_iteration_gives_every_artefact_in_the_order_of_keys(self, open: Open) -> None:
        store = open()
        keys = sorted(sha256_json(n) for n in range(20))
        for key in keys:
            make(store, key)
        assert [artefact.key for artefact in open()] == keys
        assert open().keys() == keys

    def test_work_goes_on_from_the_newest_checkpoint_wherever_it_was_made(self, open: Open) -> None:
        with open().partial(KEY) as partial:
            for step in (1, 2, 3):
                (partial.work / f"{step}.bin").write_bytes(bytes([step]))
                partial.save(step, number(step), {"inputs": {"a": "b"}})
        with open().partial(KEY) as partial:
            newest = partial.newest()
            assert newest is not None
            assert (newest[0], newest[2]) == (3, {"inputs": {"a": "b"}})
            assert (newest[1] / "state").read_text() == "3"
            assert {f"{step}.bin" for step in (1, 2, 3)} <= {p.name for p in partial.work.iterdir()}
            partial.reset()
            assert partial.newest() is None
            assert list(partial.work.iterdir()) == []
        with open().partial(KEY) as partial:
            assert partial.newest() is None

    def test_one_works_and_others_wait_until_it_lets_go(self, open: Open) -> None:
        first, second = open().partial(KEY, inputs=["x"]), open().partial(OTHER)
        assert first.acquire()
        assert second.acquire(), "another key is another lease"
        third = open().partial(KEY)
        third.lease.acquire()
        assert not third.lease.mine
        assert [about["inputs"] for _, about in open().leases().values()].count(["x"]) == 1
        with first, second:
            pass
        assert open().leases() == {}
        assert third.acquire()
        assert not third.private
        with third:
            pass

    def test_the_same_process_does_not_wait_for_itself(self, open: Open) -> None:
        first, second = open().partial(KEY), open().partial(KEY)
        with first, second:
            assert not first.private
            assert second.private
            assert second.folder != first.folder
        assert not second.folder.exists()

    def test_what_a_run_begins_to_work_on_after_it_was_listed_stays(self, open: Open) -> None:
        store = open()
        with store.partial(KEY) as partial:
            partial.save(1, number(1), {})
        [left] = open().half_made()
        with store.partial(KEY) as partial:
            left.remove()
            assert partial.lease.still_mine() and partial.newest() is not None
        [left] = open().half_made()
        left.remove()
        assert open().half_made() == []
