"""The store and half-made artefacts: nothing half-written is ever seen, nothing finished is lost."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from wsss import files
from wsss.files import sha256_file, sha256_json, write_atomic
from wsss.store.artefact import Artefact
from wsss.store.folder_store import Store
from wsss.store.lease import is_dead
from wsss.store.partial import Partial

KEY = sha256_json("one")
OTHER = sha256_json("two")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def make(store: Store, key: str = KEY, content: bytes = b"content") -> Artefact:
    with Partial(store.root, key) as partial:
        folder = partial.staging()
        (folder / "sub").mkdir()
        (folder / "sub" / "file.bin").write_bytes(content)
        artefact = store.commit(key, folder, {"stage": "toy", "inputs": {}, "seconds": 1.0})
        partial.remove()
    return artefact


def test_commit_then_get(store: Store) -> None:
    assert store.get(KEY) is None
    artefact = make(store)
    assert store.get(KEY) == artefact
    assert artefact.record["files"]["sub/file.bin"]["sha256"] == sha256_file(artefact.folder / "sub/file.bin")
    assert artefact.bytes == 7
    assert not (store.root / "partial" / KEY).exists()


def test_equal_files_have_equal_digests_and_others_not(store: Store) -> None:
    first, second = make(store), make(store, OTHER)
    assert first.digest == second.digest
    assert make(store, sha256_json("three"), b"else").digest != first.digest


def test_first_commit_wins(store: Store) -> None:
    first = make(store)
    second = make(store, KEY, b"later")
    assert second.digest == first.digest
    assert (store.folder(KEY) / "sub/file.bin").read_bytes() == b"content"


@pytest.mark.parametrize("damage", ["missing", "short", "record"])
def test_damage_that_names_and_sizes_show_is_set_aside(store: Store, damage: str) -> None:
    file = make(store).folder / "sub/file.bin"
    if damage == "missing":
        file.unlink()
    elif damage == "short":
        file.write_bytes(b"cont")
    else:
        (store.folder(KEY) / "artefact.json").write_text('{"stage": "to')
    assert store.get(KEY) is None
    assert make(store).folder.exists()
    assert len(list((store.root / "damaged").iterdir())) == 1
    assert store.get(KEY, thorough=True) is not None


def test_same_size_damage_is_found_when_read_thoroughly(store: Store) -> None:
    (make(store).folder / "sub/file.bin").write_bytes(b"CONTENT")
    assert store.get(KEY) is not None
    assert store.get(KEY, thorough=True) is None


def test_eviction_keeps_the_record_and_a_new_commit_revives_it(store: Store) -> None:
    make(store)
    assert store.evict(KEY) == 7
    assert store.get(KEY) is None
    known = store.known(KEY)
    assert known is not None and known.evicted
    assert not make(store).evicted
    assert store.get(KEY) is not None


def test_iteration_gives_every_artefact(store: Store) -> None:
    make(store)
    make(store, OTHER)
    assert {artefact.key for artefact in store} == {KEY, OTHER}


def test_write_atomic_leaves_the_old_file_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, "old")
    with pytest.raises(TypeError):
        write_atomic(path, None)  # type: ignore[arg-type]
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def save_number(number: int):
    return lambda folder: (folder / "state").write_text(str(number))


def test_partial_opens_the_newest_whole_checkpoint(store: Store) -> None:
    with Partial(store.root, KEY) as partial:
        for step in (1, 2, 3):
            partial.save(step, save_number(step), {"inputs": {}})
        assert sorted(p.name for p in partial.folder.glob("step-*")) == ["step-000002", "step-000003"]
    with Partial(store.root, KEY) as partial:
        newest = partial.newest()
        assert newest is not None and newest[0] == 3
        (newest[1] / "state").write_text("9")
        newest = partial.newest()
        assert newest is not None and newest[0] == 2
        assert (newest[1] / "state").read_text() == "2"


def test_a_save_that_fails_leaves_the_older_checkpoint(store: Store) -> None:
    def fail(folder: Path) -> None:
        (folder / "state").write_text("half")
        raise OSError(28, "No space left on device")

    with Partial(store.root, KEY) as partial:
        partial.save(1, save_number(1), {"inputs": {}})
        with pytest.raises(OSError, match="No space left"):
            partial.save(2, fail, {"inputs": {}})
        newest = partial.newest()
        assert newest is not None and newest[0] == 1
        assert not list(partial.folder.glob(".writing*"))


def hold(root: Path, key: str) -> None:
    with Partial(root, key):
        (root / "held").touch()
        time.sleep(60)


def test_second_writer_gets_a_private_folder_and_a_dead_one_lets_go(store: Store) -> None:
    process = multiprocessing.get_context("spawn").Process(target=hold, args=(store.root, KEY))
    process.start()
    while not (store.root / "held").exists():
        time.sleep(0.01)
    with Partial(store.root, KEY) as partial:
        assert partial.private
        private = partial.folder
    assert not private.exists()
    assert not any(is_dead(about) for _, about in store.leases().values())
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    assert all(is_dead(about) for _, about in store.leases().values())
    with Partial(store.root, KEY) as partial:
        assert not partial.private


def test_large_artefacts_are_hashed_by_several_threads_to_the_same_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = {f"shard-{number}": bytes([number]) * (1000 + number) for number in range(9)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    expected = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in contents.items()
    }
    assert files.describe_files(tmp_path, contents) == expected
    monkeypatch.setattr(files, "WORTH_THREADS", 0)
    assert files.describe_files(tmp_path, contents) == expected
    assert list(files.describe_files(tmp_path, contents)) == list(contents)
