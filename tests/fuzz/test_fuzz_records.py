"""Records of a storage that somebody else has written into: they count as missing, or are refused."""

from __future__ import annotations

import copy
import functools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bounds import examples, survives
from hostile import json_like, texts
from hypothesis import example, given
from hypothesis import strategies as st

from wsss.pipeline.past.stored_studies import find_study
from wsss.store.artefact import RECORD
from wsss.store.file_lease import leases_at
from wsss.store.folder_store import Store
from wsss.store.lease import LEASE, is_dead, this_process
from wsss.store.ledger import Ledger
from wsss.store.partial import MANIFEST, Partial
from wsss.store.storage import open_storage

KEY = "ab" + "0" * 62
TRIAL = {
    "type": "trial",
    "time": "2025-01-01T00:00:00+00:00",
    "id": "cam-baseline-000",
    "sweep": "cam",
    "arm": "baseline",
    "seed": 0,
    "params": {"lr": 0.1},
    "configuration": "cam-baseline-000",
    "upstream": "",
    "method": "cam",
    "backbone": "resnet50",
    "keys": {"classifier": KEY},
}
END = {
    "type": "end",
    "time": "2025-01-01T00:01:00+00:00",
    "id": "cam-baseline-000",
    "status": "done",
    "seconds": 3.5,
    "metrics": {"cams/select/miou": 0.4},
    "error": "",
    "rungs": [[1, 0.3]],
}
KEPT = {"type": "kept", "time": "2025-01-01T00:02:00+00:00", "sweep": "cam", "ids": ["cam-baseline-000"]}
STRANGE = (
    b"",
    b"[1]",
    b"null",
    b"1",
    b'"word"',
    b"{}",
    b"\0\0\0\0",
    b"\xff\xfe{\0}\0",
    b"[" * 50_000,
    b'{"a":' * 50_000,
    b'{"seconds": ' + b"9" * 5000 + b"}",
    b'{"seconds": NaN}',
    b'{"a": "\\ud800"}',
)
anything = st.binary(max_size=80) | json_like.map(lambda value: json.dumps(value).encode())


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        yield (*path, key)
        yield from places(child, (*path, key))


def damaged(data: st.DataObject, value: Any) -> Any:
    """The record with one value lost or replaced."""
    value = copy.deepcopy(value)
    place = data.draw(st.sampled_from(list(places(value))))
    parent = functools.reduce(lambda inner, key: inner[key], place[:-1], value)
    if data.draw(st.booleans()):
        del parent[place[-1]]
    else:
        parent[place[-1]] = data.draw(json_like | st.sampled_from(["../../x", "/etc/passwd", "a\0b"]))
    return value


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("storage")


@pytest.fixture(scope="module")
def whole(root: Path) -> dict[str, Any]:
    """The record of a finished artefact in the storage at `root`."""
    store = Store(root / "store")
    with store.partial(KEY) as partial:
        folder = partial.staging()
        (folder / "scores.json").write_text("{}")
        store.commit(KEY, folder, {"stage": "scores", "seconds": 1.0, "inputs": {}, "params": {}})
        partial.remove()
    found: dict[str, Any] = json.loads((store.folder(KEY) / RECORD).read_text())
    shutil.copytree(store.folder(KEY), root / "whole")
    return found


def look(root: Path, content: bytes) -> None:
    """Read an artefact whose record is `content`, in all the ways in which programs do."""
    place = root / "store" / KEY[:2] / KEY
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(root / "whole", place)
    (place / RECORD).write_bytes(content)
    outside = root / "x"
    outside.write_text("not ours")
    store = Store(root / "store")
    survives(lambda: [(one.stage, one.bytes, one.digest, one.evicted) for one in store])
    survives(lambda: store.get(KEY))
    survives(lambda: store.get(KEY, thorough=True))
    survives(lambda: store.evict(KEY))
    assert outside.exists()


@given(anything)
@examples(80)
def test_any_artefact_record(root: Path, whole: dict[str, Any], content: bytes) -> None:
    look(root, content)


@pytest.mark.parametrize("content", STRANGE, ids=range(len(STRANGE)))
def test_strange_artefact_records(root: Path, whole: dict[str, Any], content: bytes) -> None:
    look(root, content)


@given(st.data())
@examples(150)
def test_artefact_records_with_one_wrong_value(
    root: Path, whole: dict[str, Any], data: st.DataObject
) -> None:
    look(root, json.dumps(damaged(data, whole)).encode())


def read_ledger(root: Path, lines: list[bytes]) -> None:
    ledger = Ledger(root / "study")
    ledger.path.parent.mkdir(exist_ok=True)
    ledger.path.write_bytes(b"\n".join(lines))
    survives(lambda: list(ledger.entries()))
    survives(lambda: [(t.id, t.status, t.metrics, t.kept, t.rungs) for t in ledger.trials().values()])


@given(st.data())
@examples(250)
def test_ledger_lines_with_one_wrong_value(root: Path, data: st.DataObject) -> None:
    lines = [TRIAL, END, KEPT]
    place = data.draw(st.integers(0, 2))
    lines[place] = damaged(data, lines[place])
    read_ledger(root, [json.dumps(line).encode() for line in lines])


@given(st.lists(anything | st.sampled_from(STRANGE), max_size=4))
@examples(150)
def test_any_ledger_lines(root: Path, strange: list[bytes]) -> None:
    good = [json.dumps(line).encode() for line in (TRIAL, END, KEPT)]
    read_ledger(root, [good[0], *strange, good[1], *strange[:1], good[2]])


def read_a_lease(root: Path, content: bytes) -> None:
    folder = root / "leased"
    folder.mkdir(exist_ok=True)
    (folder / LEASE).write_bytes(content)
    found = survives(lambda: leases_at(folder / LEASE))
    for _, about in (found or {}).values():
        survives(lambda about=about: is_dead(about))
    survives(lambda: Store(root / "store").leases())


@given(anything | st.sampled_from(STRANGE))
@examples(100)
def test_any_lease(root: Path, content: bytes) -> None:
    read_a_lease(root, content)


@given(st.data())
@examples(100)
def test_leases_with_one_wrong_value(root: Path, data: st.DataObject) -> None:
    lease = {"owner": "0-a", "time": 1.0, "beat": 1, "inputs": [KEY], **this_process()}
    read_a_lease(root, json.dumps(damaged(data, lease)).encode())


def read_a_checkpoint(root: Path, content: bytes) -> None:
    partial = Partial(root / "store", "cd" + "0" * 62)
    step = partial.folder / "step-000003"
    step.mkdir(parents=True, exist_ok=True)
    (step / "model").write_bytes(b"1")
    (step / MANIFEST).write_bytes(content)
    found = survives(partial.newest)
    assert found is None or isinstance(found[0], int)


@given(anything | st.sampled_from(STRANGE))
@examples(100)
def test_any_checkpoint_record(root: Path, content: bytes) -> None:
    read_a_checkpoint(root, content)


@given(st.data())
@examples(100)
def test_checkpoint_records_with_one_wrong_value(root: Path, data: st.DataObject) -> None:
    digest = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
    about = {"step": 3, "about": {"stage": "classifier"}, "files": {"model": {"bytes": 1, "sha256": digest}}}
    read_a_checkpoint(root, json.dumps(damaged(data, about)).encode())


@given(st.binary(max_size=80) | texts.map(lambda text: text.encode(errors="surrogatepass")))
@example(b"\xff\xfen\0a\0")
@example(b"name: other\n")
@example(b"\0")
@example(b"- " * 5000)
@examples(80)
def test_any_stored_study(root: Path, content: bytes) -> None:
    folder = root / "studies" / "mine"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.yaml").write_bytes(content)
    survives(lambda: find_study("mine", root))
    survives(lambda: open_storage(root).study_names())


@given(texts)
@example("..")
@example(".")
@example("x" * 300)
@example("a\0b")
@examples(60)
def test_any_name_of_a_study(root: Path, name: str) -> None:
    survives(lambda: find_study(name, root))
