"""Both kinds of store keep the same promises."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from s3_server import s3_address
from store_contract import Open, StoreContract

from wsss.pipeline.objects import Objects
from wsss.pipeline.remote_store import RemoteStore
from wsss.pipeline.store import Store


class TestFolder(StoreContract):
    @pytest.fixture
    def open(self, tmp_path: Path) -> Open:
        return lambda **options: Store(tmp_path / "store", **options)

    def damage(self, store: Store, key: str, content: bytes | None) -> None:
        path = store.folder(key) / "sub/file.bin"
        path.unlink()
        if content is not None:
            path.write_bytes(content)


class TestObjects(StoreContract):
    @pytest.fixture
    def open(self, tmp_path: Path, s3: str) -> Open:
        uri = s3_address(s3)
        machines = itertools.count()
        return lambda **options: RemoteStore(Objects(uri), tmp_path / f"cache-{next(machines)}", **options)

    def damage(self, store: Store, key: str, content: bytes | None) -> None:
        assert isinstance(store, RemoteStore)
        (one,) = [one for one in store.objects.below("store") if one.name.endswith("/sub/file.bin")]
        if content is None:
            store.objects.delete(one.name)
        else:
            store.objects.write(one.name, content)
