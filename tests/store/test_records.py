"""What comes back from a storage is what was written, or counts as missing and is said once: no traceback."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from store_contract import KEY, make, number

from wsss.errors import ConfigError, StorageError
from wsss.files import read_copy, read_json, sha256_json, write_copy
from wsss.pipeline.past.retention import prune, wanted_by
from wsss.store import records
from wsss.store.file_lease import FileLease, leases_at
from wsss.store.folder_store import Store
from wsss.store.ledger import Ledger
from wsss.store.storage import Storage

GARBAGE: dict[str, bytes] = {
    "empty": b"",
    "list": b"[1]",
    "number": b"7",
    "null": b"null",
    "mapping": b"{}",
    "cut": b'{"stage": "to',
    "nul": b"\0" * 400,
    "nul inside": b'{"stage": "a\0b"}',
    "not utf-8": b'{"stage": "caf\xe9"}',
    "utf-16": '{"stage": "toy"}'.encode("utf-16"),
    "bom": b"\xef\xbb\xbf{}",
    "deep": b"[" * 100_000,
    "deep mapping": b'{"a":' * 50_000,
    "huge number": b'{"stage": ' + b"9" * 5000 + b"}",
    "nan": b'{"seconds": NaN}',
    "infinity": b'{"seconds": 1e999}',
    "half a character": b'{"stage": "\\ud800"}',
}
REAL = {"stage": "toy", "inputs": {}, "seconds": 1.0, "files": {}, "key": KEY}
WRONG: dict[str, Any] = {
    "no stage": {name: value for name, value in REAL.items() if name != "stage"},
    "no files": {name: value for name, value in REAL.items() if name != "files"},
    "files a list": REAL | {"files": [1]},
    "a file without bytes": REAL | {"files": {"a": {"sha256": "0" * 64}}},
    "bytes a word": REAL | {"files": {"a": {"sha256": "0" * 64, "bytes": "7"}}},
    "bytes below 0": REAL | {"files": {"a": {"sha256": "0" * 64, "bytes": -7}}},
    "a file elsewhere": REAL | {"files": {"../../a": {"sha256": "0" * 64, "bytes": 7}}},
    "an absolute file": REAL | {"files": {"/etc/passwd": {"sha256": "0" * 64, "bytes": 7}}},
    "inputs a list": REAL | {"inputs": [1]},
    "an input without digest": REAL | {"inputs": {"a": {"key": KEY}}},
    "history of words": REAL | {"history": ["a"]},
    "summary null": REAL | {"summary": None},
    "params a list": REAL | {"params": [1]},
    "seconds a word": REAL | {"seconds": "long"},
    "stage a list": REAL | {"stage": [1]},
    "markup": REAL | {"stage": "[/red]"},
    "of another key": REAL | {"key": "ab"},
}
RECORDS = GARBAGE | {name: json.dumps(content).encode() for name, content in WRONG.items()}


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_said", set())


@pytest.mark.parametrize("content", RECORDS.values(), ids=RECORDS)
def test_a_record_that_cant_be_read_is_set_aside_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    record = make(Store(tmp_path)).folder / "artefact.json"
    record.write_bytes(content)
    store = Store(tmp_path)
    assert store.known(KEY) is None and list(store) == [] and store.left(KEY) is None
    assert store.get(KEY) is None and not store.has(KEY) and store.evict(KEY) == 0
    assert Store(tmp_path).get(KEY) is None
    (warning,) = caplog.messages
    assert KEY in warning and "artefact.json" in warning and len(warning) < 600 and "\n" not in warning
    assert len(store.damaged()) == 1
    assert make(store).digest and Store(tmp_path).get(KEY, thorough=True) is not None


def test_a_folder_or_a_pipe_in_place_of_a_record_is_none(tmp_path: Path) -> None:
    for put in (os.mkdir, os.mkfifo):
        record = make(Store(tmp_path)).folder / "artefact.json"
        record.unlink()
        put(record)  # type: ignore[operator]
        assert Store(tmp_path).get(KEY) is None


def change(path: Path, old: str, new: str) -> None:
    """Change one digit, as a bad disk or a careful person would: the file keeps its size."""
    text = path.read_text()
    assert text.count(old) == 1 and len(old) == len(new)
    path.write_text(text.replace(old, new))


def test_a_digit_changed_in_a_record_is_noticed_by_its_own_checksum(tmp_path: Path) -> None:
    record = make(Store(tmp_path), history=[{"mAP": 0.159}]).folder / "artefact.json"
    assert Store(tmp_path).known(KEY).record["history"] == [{"mAP": 0.159}]  # type: ignore[union-attr]
    change(record, "0.159", "0.959")
    assert Store(tmp_path).known(KEY) is None
    assert Store(tmp_path).get(KEY) is None
    assert len(Store(tmp_path).damaged()) == 1


def test_a_record_of_a_version_without_checksums_counts(tmp_path: Path) -> None:
    record = make(Store(tmp_path)).folder / "artefact.json"
    content = read_json(record)
    assert content.pop("sha256") == sha256_json(content)
    record.write_text(json.dumps(content))
    found = Store(tmp_path).get(KEY, thorough=True)
    assert found is not None and found.record["seconds"] == 1.0
    for name in ("inputs", "seconds", "key"):  # what is older still may lack more
        del content[name]
    record.write_text(json.dumps(content))
    found = Store(tmp_path).get(KEY, thorough=True)
    assert found is not None and (found.record["history"], found.record["summary"]) == ([], {})


def test_a_digit_changed_in_a_small_json_file_is_noticed_at_every_look(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = tmp_path / "made"

    def commit() -> None:
        folder.mkdir()
        (folder / "scores.json").write_text('{"select": {"miou": 0.159}}')
        store.commit(KEY, folder, {"stage": "scores", "inputs": {}, "seconds": 0.0})

    commit()
    assert store.get(KEY, thorough=True) is not None
    assert store.read_json(KEY, "scores.json") == {"select": {"miou": 0.159}}
    change(store.folder(KEY) / "scores.json", "0.159", "0.959")
    assert store.read_json(KEY, "scores.json") is None, "though it was whole a moment ago"
    assert not store.has(KEY) and len(store.damaged()) == 1
    commit()
    change(store.folder(KEY) / "scores.json", "0.159", "0.959")
    assert not Store(tmp_path).has(KEY), "nobody read it thoroughly"


def test_what_is_damaged_in_a_storage_that_can_only_be_read_counts_as_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (make(Store(tmp_path)).folder / "sub/file.bin").write_bytes(b"CONTENT")

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "mkdir", refuse)
    store = Store(tmp_path)
    assert store.get(KEY, thorough=True) is None and store.get(KEY) is None and not store.has(KEY)
    assert store.read(KEY, "sub/file.bin") is None


def test_a_disk_that_cant_be_read_for_now_is_an_error_and_sets_nothing_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(Store(tmp_path))
    read = Path.read_bytes

    def fail(path: Path) -> bytes:
        if path.name == "artefact.json":
            raise OSError(5, "Input/output error", str(path))
        return read(path)

    with monkeypatch.context() as context:
        context.setattr(Path, "read_bytes", fail)
        with pytest.raises(StorageError, match=r"artefact\.json: can't be read: Input/output error"):
            Store(tmp_path).get(KEY)
    assert Store(tmp_path).get(KEY) is not None


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE)
def test_a_manifest_that_cant_be_read_leaves_the_checkpoint_before(tmp_path: Path, content: bytes) -> None:
    with Store(tmp_path).partial(KEY) as partial:
        for step in (1, 2):
            partial.save(step, number(step), {"inputs": {}})
        (partial.folder / "step-000002/manifest.json").write_bytes(content)
        found = partial.newest()
        assert found is not None and found[0] == 1


def test_a_digit_changed_in_a_manifest_is_noticed(tmp_path: Path) -> None:
    with Store(tmp_path).partial(KEY) as partial:
        partial.save(1, number(1), {"inputs": {}, "history": [{"loss": 0.125}]})
        change(partial.folder / "step-000001/manifest.json", "0.125", "0.925")
        assert partial.newest() is None


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE)
def test_a_lease_that_cant_be_read_goes_stale(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "lease").write_bytes(content)
    assert leases_at(tmp_path / "lease")
    lease = FileLease(tmp_path, timeout=0.05)
    assert not lease.acquire()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lease, "timeout", 0.0)
        assert lease.acquire()
    lease.release()


def test_a_folder_in_place_of_a_lease_goes_stale(tmp_path: Path) -> None:
    (tmp_path / "lease").mkdir()
    lease = FileLease(tmp_path, timeout=0.0)
    assert lease.acquire()
    lease.release()
    assert FileLease(tmp_path).acquire()


TRIAL: dict[str, Any] = {
    "type": "trial", "id": "a", "sweep": "cam", "arm": "x", "seed": 0, "params": {}, "configuration": "a",
    "upstream": "", "method": "", "backbone": "", "keys": {"classifier": KEY},
}  # fmt: skip
END = {"type": "end", "id": "a", "status": "done", "metrics": {}, "error": "", "seconds": 1.0}
KEPT = {"type": "kept", "sweep": "cam", "ids": ["a"], "keys": [KEY]}


def lacking(entry: dict[str, Any], *names: str) -> dict[str, bytes]:
    return {
        f"{entry['type']} without {name}": json.dumps({k: v for k, v in entry.items() if k != name}).encode()
        for name in names
    }


LINES = {
    **{name: content for name, content in GARBAGE.items() if name not in ("empty", "utf-16")},
    **lacking(TRIAL, "id", "sweep", "arm", "seed", "params", "configuration", "keys"),
    **lacking(END, "id", "status", "metrics"),
    **lacking(KEPT, "sweep", "ids", "keys"),
    "metrics of words": json.dumps(END | {"metrics": {"a": "b"}}).encode(),
    "another status": json.dumps(END | {"status": 5}).encode(),
    "keys a list": json.dumps(TRIAL | {"keys": [1]}).encode(),
    "a key with NUL": json.dumps(TRIAL | {"keys": {"a": "b\0"}}).encode(),
    "history of numbers": json.dumps(TRIAL | {"history": [1]}).encode(),
    "ids null": json.dumps(KEPT | {"ids": None}).encode(),
    "no type": b'{"id": "a"}',
    "type a list": b'{"type": [1]}',
    "made of nothing": b'{"type": "made"}',
    "run of words": b'{"type": "run", "id": "a", "seconds": "x", "gpu_seconds": 1, "trials": []}',
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_a_line_that_cant_be_read_is_passed_over_and_said_once_with_its_number(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, line: bytes
) -> None:
    whole = [json.dumps(entry).encode() for entry in (TRIAL, END, KEPT)]
    (tmp_path / "ledger.jsonl").write_bytes(b"\n".join([whole[0], line, *whole[1:]]) + b"\n")
    for _ in range(2):
        trial = Ledger(tmp_path).trials()["a"]
        assert (trial.status, trial.kept, trial.seconds) == ("done", True, 1.0)
    (warning,) = caplog.messages
    assert "ledger.jsonl" in warning and "line 2" in warning and len(warning) < 500


def test_a_torn_last_line_is_normal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Ledger(tmp_path).append("note", n=1)
    with (tmp_path / "ledger.jsonl").open("ab") as file:
        file.write(b'{"type": "no')
    assert len(list(Ledger(tmp_path).entries())) == 1 and not caplog.messages
    Ledger(tmp_path).append("note", n=2)
    assert [entry["n"] for entry in Ledger(tmp_path).entries()] == [1, 2]
    (warning,) = caplog.messages
    assert "line 2" in warning


def test_a_whole_ledger_in_another_encoding_is_one_message(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = "".join(json.dumps(entry) + "\n" for entry in (TRIAL, END, KEPT) * 50)
    (tmp_path / "ledger.jsonl").write_text(text, encoding="utf-16")
    assert Ledger(tmp_path).trials() == {}
    (warning,) = caplog.messages
    assert "more" in warning and len(warning) < 500


def test_a_digit_changed_in_a_ledger_is_noticed_and_older_lines_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(tmp_path)
    ledger.append(**{"kind": "trial", **{k: v for k, v in TRIAL.items() if k != "type"}})
    ledger.append("end", id="a", status="done", metrics={"m": 0.159}, error="", seconds=1.0)
    assert Ledger(tmp_path).trials()["a"].metrics == {"m": 0.159}
    change(ledger.path, "0.159", "0.959")
    trial = Ledger(tmp_path).trials()["a"]
    assert (trial.status, trial.metrics) == ("started", {}) and "line 2" in caplog.text
    with ledger.path.open("a") as file:  # as older versions wrote it
        file.write(json.dumps(END | {"metrics": {"m": 0.25}}) + "\n")
    assert Ledger(tmp_path).trials()["a"].metrics == {"m": 0.25}


def test_a_folder_in_place_of_a_ledger_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").mkdir()
    with pytest.raises(StorageError, match=r"ledger\.jsonl: is no file"):
        list(Ledger(tmp_path).entries())


def test_what_a_line_names_that_cant_be_read_is_not_deleted(tmp_path: Path) -> None:
    storage = Storage(tmp_path, tmp_path)
    make(storage.store)
    ledger = storage.ledger("s")
    ledger.append("note")
    line = json.dumps(TRIAL).encode()
    with ledger.path.open("ab") as file:
        file.write(line[:-3] + b"\n")
    assert wanted_by(ledger) == {KEY}
    prune(storage, dry_run=False, timeout=0)
    assert storage.store.has(KEY)
    ledger.append("trial", **{k: v for k, v in TRIAL.items() if k != "type"})  # it is written again
    ledger.append("kept", sweep="cam", ids=[], keys=[])
    assert wanted_by(ledger) == set()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("name: é".encode("latin-1"), "not a text file in UTF-8"),
        ("name: s".encode("utf-16"), "not a text file in UTF-8"),
        (b"name: s\0", "NUL"),
        (None, "is no file"),
    ],
)
def test_a_stored_study_that_is_no_text_is_one_message(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "studies/s/study.yaml"
    path.parent.mkdir(parents=True)
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=said) as told:
        Storage(tmp_path, tmp_path).study_text("s")
    assert str(path) in str(told.value)


def test_a_copy_that_has_changed_is_none(tmp_path: Path) -> None:
    path = tmp_path / "copy"
    assert read_copy(path) is None
    write_copy(path, b'{"a": 0.1}\n')
    assert read_copy(path) == b'{"a": 0.1}\n'
    change(path, "0.1", "0.9")
    assert read_copy(path) is None
    path.write_bytes(b"")
    assert read_copy(path) is None


def test_files_and_folders_are_on_the_disk_before_a_record_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In what order names appear and bytes are waited for, from the system's own calls."""
    done: list[tuple[str, str]] = []
    fsync: Callable[[int], None] = os.fsync
    rename = os.rename

    def noted_sync(descriptor: int) -> None:
        done.append(("sync", os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def noted_rename(source: Any, target: Any, **options: Any) -> None:
        rename(source, target, **options)
        done.append(("rename", str(target)))

    store = Store(tmp_path / "store")
    with store.partial(KEY) as partial:
        folder = partial.staging()
        (folder / "sub").mkdir()
        (folder / "sub/file.bin").write_bytes(b"x")
        monkeypatch.setattr(os, "fsync", noted_sync)
        monkeypatch.setattr(os, "rename", noted_rename)
        store.commit(KEY, folder, {"stage": "toy", "inputs": {}, "seconds": 0.0})
        target = str(store.folder(KEY))
        there = done.index(("rename", target))
        before = {path for what, path in done[:there] if what == "sync"}
        assert {f"{folder}/sub/file.bin", f"{folder}/sub", str(folder), str(store.root)} <= before
        assert any(path.startswith(f"{folder}/.artefact.json.") for path in before)
        assert ("sync", str(store.folder(KEY).parent)) in done[there:]

        done.clear()
        (partial.work / "chunk").write_bytes(b"x")
        partial.save(1, number(1), {"inputs": {}})
        there = done.index(("rename", str(partial.folder / "step-000001")))
        before = {Path(path).name for what, path in done[:there] if what == "sync"}
        assert {"chunk", "work", "state"} <= before
        assert ("sync", str(partial.folder)) in done[there:]

    done.clear()
    Ledger(tmp_path / "studies/s").append("note")
    synced = {path for _, path in done}
    assert {str(tmp_path), f"{tmp_path}/studies", f"{tmp_path}/studies/s"} <= synced
    shutil.rmtree(tmp_path / "studies")
