"""A process is killed at every step that a commit or an eviction takes: nothing half done is ever seen or kept."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from store_contract import KEY, make

from wsss.pipeline.past.retention import prune
from wsss.store.folder_store import Store
from wsss.store.storage import Storage

CHANGES = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.utime", "os.truncate")
"""What Python reports to its auditors before it changes a file system."""
FORK = multiprocessing.get_context("fork")


def _die_at(step: int, action: Callable[[Path], Any], root: Path) -> None:
    left = [step]

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event not in CHANGES or not left[0]:
            return
        if event == "open" and not (isinstance(args[2], int) and args[2] & (os.O_CREAT | os.O_TRUNC)):
            return
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    action(root)


def killed_at_every_step(tmp_path: Path, before: Callable[[Path], Any], action: Callable[[Path], Any]):
    """Yield the storage after the action was killed at its first, second, … step, until it came to its end."""
    for step in range(1, 200):
        root = tmp_path / f"killed-{step}"
        before(root)
        process = FORK.Process(target=_die_at, args=(step, action, root))
        process.start()
        process.join(60)
        assert process.exitcode in (0, -signal.SIGKILL)
        yield root
        shutil.rmtree(root)
        if process.exitcode == 0:
            assert step > 5, "it had steps"
            return
    raise AssertionError("it never ends")


def _make(root: Path) -> None:
    make(Store(root / "store"))


def _make_and_evict(root: Path) -> None:
    _make(root)
    Store(root / "store").evict(KEY)


def _evict(root: Path) -> None:
    Store(root / "store").evict(KEY)


def _damage(root: Path) -> None:
    _make(root)
    (Store(root / "store").folder(KEY) / "sub/file.bin").write_bytes(b"cont")


def _nothing(root: Path) -> None:
    root.mkdir()


@pytest.mark.parametrize("before", [_nothing, _make_and_evict, _damage])
def test_a_kill_in_a_commit(tmp_path: Path, before: Callable[[Path], Any]) -> None:
    for root in killed_at_every_step(tmp_path, before, _make):
        store = Store(root / "store")
        found = store.get(KEY, thorough=True)
        if found is not None:
            assert (found.folder / "sub/file.bin").read_bytes() == b"content"
        make(store, content=b"content" if found is not None else b"another")
        again = Store(root / "store").get(KEY, thorough=True)
        assert again is not None and (found is None or again.digest == found.digest)
        storage = Storage(root, root)
        storage.ledger("s").append("kept", sweep="x", ids=[], keys=[KEY])
        prune(storage, dry_run=False, timeout=0)
        left = {path.relative_to(root / "store").parts[0] for path in store.root.rglob("*") if path.is_file()}
        assert left == {KEY[:2]}, "nothing is left for ever but the artefact"


def test_a_kill_in_an_eviction(tmp_path: Path) -> None:
    for root in killed_at_every_step(tmp_path, _make, _evict):
        store = Store(root / "store")
        found = store.get(KEY, thorough=True)
        folder = store.folder(KEY)
        on_disk = [path for path in folder.rglob("*") if path.name not in ("artefact.json", "evicted")]
        if found is None:
            known = store.known(KEY)
            assert known is not None and known.evicted
        assert (store.left(KEY) is None) == (not on_disk), "what is left is counted"
        freed = prune(Storage(root, root), dry_run=False, timeout=0)
        assert sum(freed.values()) >= sum(path.stat().st_size for path in on_disk if path.exists())
        assert {path.name for path in folder.iterdir()} == {"artefact.json", "evicted"}
        assert store.evict(KEY) == 0 and store.left(KEY) is None
        files = {path.relative_to(store.root).parts[0] for path in store.root.rglob("*") if path.is_file()}
        assert files == {KEY[:2]}
        make(store)
        assert Store(root / "store").get(KEY, thorough=True) is not None, "a new commit revives it"


@pytest.mark.parametrize("step", range(1, 4))
def test_an_eviction_that_fails_goes_on_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """A disk that answers once with an error, at one file after the other."""
    store = Store(tmp_path)
    folder = tmp_path / "made"
    folder.mkdir()
    for name in "abc":
        (folder / name).write_bytes(b"1234")
    store.commit(KEY, folder, {"stage": "toy", "inputs": {}, "seconds": 0.0})
    unlink, calls = Path.unlink, [0]

    def fail(path: Path, missing_ok: bool = False) -> None:
        if path.parent == store.folder(KEY):
            calls[0] += 1
            if calls[0] == step:
                raise OSError(22, "not now", str(path))
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as context:
        context.setattr(Path, "unlink", fail)
        with pytest.raises(OSError, match="not now"):
            store.evict(KEY)
    assert not store.has(KEY) and store.left(KEY) == 4 * (4 - step)
    assert store.evict(KEY) == 4 * (4 - step)
