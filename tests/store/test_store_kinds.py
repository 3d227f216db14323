"""Both kinds of store keep the same promises."""

from __future__ import annotations

import errno
import io
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from s3_server import s3_address
from store_contract import KEY, Open, StoreContract, make

from wsss.errors import StorageError
from wsss.files import sha256_json
from wsss.store.artefact import RECORD
from wsss.store.folder_store import Store
from wsss.store.objects.client import Objects
from wsss.store.objects.store import ObjectStore


class TestFolder(StoreContract):
    @pytest.fixture
    def open(self, tmp_path: Path) -> Open:
        return lambda **options: Store(tmp_path / "store", **options)

    def damage(self, store: Store, key: str, content: bytes | None) -> None:
        path = store.folder(key) / "sub/file.bin"
        path.unlink()
        if content is not None:
            path.write_bytes(content)

    @pytest.mark.parametrize("before", ["nothing", "evicted", "broken"])
    def test_many_writers_at_once_never_lose_what_one_has_put_there(self, open: Open, before: str) -> None:
        """The window between a look and a rename is short: forty keys, eight writers each."""
        record = {"stage": "toy", "inputs": {}, "seconds": 0.0}
        for number in range(40):
            key = sha256_json(number)
            stores = [open() for _ in range(8)]
            if before != "nothing":
                make(stores[0], key)
            if before == "evicted":
                stores[0].evict(key)
            elif before == "broken":
                (stores[0].folder(key) / "artefact.json").write_bytes(b"{")
            gate = threading.Barrier(len(stores))

            def write(place: int, key: str = key, stores: list[Store] = stores, gate: Any = gate) -> str:
                folder = stores[place].root / f"own-{place}"
                folder.mkdir(parents=True)
                (folder / "file.bin").write_bytes(bytes([place]) * 10)
                gate.wait()
                return stores[place].commit(key, folder, record).digest

            with ThreadPoolExecutor(len(stores)) as pool:
                made = set(pool.map(write, range(len(stores))))
            found = open().get(key, thorough=True)
            assert found is not None and made == {found.digest}

    def test_what_another_puts_there_between_two_looks_is_taken(
        self, open: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The other moves a broken artefact away before the record is read, and puts its own there after."""
        quick, slow = open(), open()
        make(quick)
        (quick.folder(KEY) / RECORD).write_bytes(b"{")
        look = slow._look

        def at_a_bad_moment(key: str) -> Any:
            monkeypatch.undo()
            quick.set_aside(key)
            found = look(key)
            make(quick, content=b"of the other")
            return found

        monkeypatch.setattr(slow, "_look", at_a_bad_moment)
        folder = slow.root / "own"
        folder.mkdir(parents=True)
        (folder / "file.bin").write_bytes(b"own")
        taken = slow.commit(KEY, folder, {"stage": "toy", "inputs": {}, "seconds": 0.0})
        assert (taken.folder / "sub/file.bin").read_bytes() == b"of the other"

    def test_a_record_without_access_is_never_replaced(
        self, open: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = open()
        make(store)
        record = store.folder(KEY) / RECORD
        folder = store.root / "own"
        folder.mkdir(parents=True)
        opened = io.open

        def refused(path: Any, *args: Any, **options: Any) -> Any:
            if str(path) == str(record):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return opened(path, *args, **options)

        monkeypatch.setattr(io, "open", refused)
        monkeypatch.setattr(Store, "_look", lambda self, key: (None, ""))
        with pytest.raises(StorageError, match="nothing can be put in its place"):
            open().commit(KEY, folder, {"stage": "toy", "inputs": {}, "seconds": 0.0})


class TestObjects(StoreContract):
    @pytest.fixture
    def open(self, tmp_path: Path, s3: str) -> Open:
        uri = s3_address(s3)
        machines = itertools.count()
        return lambda **options: ObjectStore(Objects(uri), tmp_path / f"cache-{next(machines)}", **options)

    def left_aside(self, content: bytes | None) -> int:
        return 0 if content is None else 1  # there is no other file

    def damage(self, store: Store, key: str, content: bytes | None) -> None:
        assert isinstance(store, ObjectStore)
        (one,) = [one for one in store.objects.below("store") if one.name.endswith("/sub/file.bin")]
        if content is None:
            store.objects.delete(one.name)
        else:
            store.objects.write(one.name, content)
