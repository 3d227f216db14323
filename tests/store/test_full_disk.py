"""A storage that fills up or turns read-only while a study runs: one clear error, nothing finished is lost."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import toys
from store_contract import KEY, OTHER, make

from wsss.config import Resources
from wsss.errors import StorageError
from wsss.pipeline.chains.chain import Part, build_chain
from wsss.pipeline.chains.execute import run_chain
from wsss.pipeline.executor import Job
from wsss.pipeline.local import LocalExecutor
from wsss.store.folder_store import Store
from wsss.store.ledger import Ledger

REAL = os.fsync


class Disk:
    """Refuses to flush to disk from the n-th time on, as a full or read-only file system does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.code = 0
        self.left = 0
        monkeypatch.setattr(os, "fsync", self._fsync)

    def _fsync(self, number: int) -> None:
        if self.code:
            if not self.left:
                raise OSError(self.code, os.strerror(self.code))
            self.left -= 1
        REAL(number)

    def breaks(self, code: int, after: int = 0) -> None:
        self.code, self.left = code, after

    def works(self) -> None:
        self.code = 0


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    return toys.install(monkeypatch)


PARTS = [Part("source", "source", toys.ToyParams(length=4)), Part("sink", "sink", toys.ToyParams(length=2))]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_commit_that_fails_names_the_artefact(disk: Disk, tmp_path: Path, code: int) -> None:
    store = Store(tmp_path)
    make(store)
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "file").write_text("x")
    disk.breaks(code)
    with pytest.raises(StorageError) as told:
        store.commit(OTHER, folder, {"stage": "toy", "inputs": {}, "seconds": 0.0})
    assert f"{store.folder(OTHER)}: can't be written: {os.strerror(code)}" in str(told.value)
    assert "`resume`" in str(told.value) and told.value.exit_code == 3
    assert store.get(KEY) is not None and store.known(OTHER) is None


def test_a_ledger_that_cant_grow_names_itself_and_keeps_what_it_has(disk: Disk, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.append("note", n=1)
    disk.breaks(errno.ENOSPC)
    with pytest.raises(StorageError, match=r"ledger\.jsonl: can't be written: No space left on device"):
        ledger.append("note", n=2)
    disk.works()
    ledger.append("note", n=3)
    assert [entry["n"] for entry in Ledger(tmp_path).entries()][::2] == [1, 3]


@pytest.mark.parametrize("after", range(0, 10, 2))
def test_a_chain_stops_with_one_error_and_goes_on_when_there_is_room(
    disk: Disk, data: Any, tmp_path: Path, after: int
) -> None:
    chain = build_chain(PARTS, data, 0)
    store = Store(tmp_path / "store")

    def run(on: Store) -> None:
        list(run_chain("t", chain, on, data, device="cpu", threads=1, checkpoint_seconds=0))

    disk.breaks(errno.ENOSPC, after)
    with pytest.raises(StorageError, match=rf"{tmp_path}.*: can't be written: No space left on device"):
        run(store)
    finished = store.keys()
    disk.works()
    run(store)
    assert set(finished) <= set(store.keys())
    calm = Store(tmp_path / "calm")
    run(calm)
    assert [a.digest for a in store] == [a.digest for a in calm]
    assert not list((store.root / "partial").iterdir())


def test_a_full_storage_ends_the_run_instead_of_failing_every_trial(
    disk: Disk, data: Any, tmp_path: Path
) -> None:
    chains = [build_chain(PARTS, data, seed) for seed in range(3)]
    begun: list[str] = []
    listener: Any = SimpleNamespace(
        started=begun.append, event=lambda event: True, ended=lambda *_: None, stopping=lambda: False
    )
    disk.breaks(errno.ENOSPC)
    jobs = [Job(f"t{seed}", chain) for seed, chain in enumerate(chains)]
    executor = LocalExecutor(Store(tmp_path), data)
    with pytest.raises(StorageError):
        executor.run(jobs, Resources(), listener)
    assert begun == ["t0"]


def test_a_storage_that_can_only_be_read_can_be_read(tmp_path: Path) -> None:
    make(Store(tmp_path))
    before = sorted(tmp_path.rglob("*"))
    assert Store(tmp_path).get(KEY) is not None and list(Store(tmp_path))
    assert list(Ledger(tmp_path / "studies" / "s").entries()) == []
    assert sorted(tmp_path.rglob("*")) == before, "looking leaves nothing behind"
