"""The queue on disk: in order, once each, through crashes."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from wsss.errors import TrackingError
from wsss.tracking.location import tracking_uri
from wsss.tracking.reach import reach
from wsss.tracking.spool import Spool


def drain(spool: Spool, most: int = 100) -> list[object]:
    found = []
    while len(found) < most and (operation := spool.next(timeout=0)) is not None:
        found.append(operation["n"])
        spool.done(operation)
    return found


def test_operations_come_out_in_order_and_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for n in range(5):
        spool.put({"n": n})
    assert drain(spool, 2) == [0, 1]
    spool.put({"n": 5})
    assert drain(spool) == [2, 3, 4, 5]
    assert spool.next(timeout=0) is None
    assert spool.pending == 0


def test_what_was_not_acknowledged_comes_again_after_a_restart(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for n in range(4):
        spool.put({"n": n, "text": "ä\n" * n})
    drain(spool, 1)
    assert spool.next(timeout=0) is not None  # taken, never acknowledged: the process died
    assert drain(Spool(tmp_path)) == [1, 2, 3]


@pytest.mark.parametrize("tail", [b'{"n": 9', b'{"n": 9}', b"{", b"\xff\xfe"])
def test_a_line_that_a_crash_cut_short_is_dropped_and_the_rest_stays(tmp_path: Path, tail: bytes) -> None:
    spool = Spool(tmp_path)
    spool.put({"n": 0})
    spool.close()
    with (tmp_path / "operations.jsonl").open("ab") as file:
        file.write(tail)
    again = Spool(tmp_path)
    again.put({"n": 1})
    assert drain(again) == [0, 1]


@pytest.mark.parametrize("lost", [b"\0\0\0\n", b'{"n": \n', b"\xff\n", b"7\n"])
def test_a_line_that_cannot_be_read_is_passed_over_and_the_rest_comes(tmp_path: Path, lost: bytes) -> None:
    (tmp_path / "operations.jsonl").write_bytes(b'{"n": 0}\n' + lost + b'{"n": 1}\n' + lost)
    spool = Spool(tmp_path)
    assert drain(spool) == [0, 1]
    assert spool.wait_until_empty(0)


def test_a_line_being_written_is_waited_for(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    with (tmp_path / "operations.jsonl").open("ab", buffering=0) as file:
        file.write(b'{"n": ')
        assert spool.next(timeout=0) is None
        file.write(b"3}\n")
        assert drain(spool) == [3]


@pytest.mark.parametrize("position", ["", "x", "999999"])
def test_a_damaged_position_loses_nothing_that_comes_later(tmp_path: Path, position: str) -> None:
    spool = Spool(tmp_path)
    spool.put({"n": 0})
    spool.close()
    (tmp_path / "position").write_text(position)
    again = Spool(tmp_path)
    again.put({"n": 1})
    assert drain(again)[-1] == 1


def test_a_reader_is_woken_and_a_waiter_released(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    found: list[object] = []

    def read() -> None:
        operation = spool.next(timeout=20)
        assert operation is not None
        found.append(operation["n"])
        spool.done(operation)

    reader = threading.Thread(target=read)
    reader.start()
    spool.put({"n": 7})
    assert spool.wait_until_empty(20)
    reader.join(20)
    assert found == [7]
    spool.put({"n": 8})
    assert not spool.wait_until_empty(0.05)
    began = time.monotonic()
    assert not spool.wait_until_empty(60, quiet=0.05), "nobody takes anything"
    assert time.monotonic() - began < 30


def test_where_mlflow_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri(None, tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    assert tracking_uri(None, tmp_path) == "http://server:5000"
    assert tracking_uri("https://own", tmp_path) == "https://own"


@pytest.mark.parametrize(
    "uri", ["./mlruns", "file:///tmp/mlruns", "mlruns", "http://", "https:///x", "http://:5000"]
)
def test_what_is_no_address_is_refused_with_what_to_write_instead(uri: str, tmp_path: Path) -> None:
    with pytest.raises(TrackingError) as caught:
        tracking_uri(uri, tmp_path)
    assert uri in str(caught.value)
    assert f"sqlite:///{tmp_path}/mlflow.db" in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("sqllite:///x.db", "MLflow knows no 'sqllite' (did you mean 'sqlite'?)"),
        ("htp://server:5000", "MLflow knows no 'htp' (did you mean 'http'?)"),
        ("sqlite://mlflow.db", "sqlite takes three slashes before a file"),
    ],
)
def test_a_slip_in_an_address_is_named_before_anything_runs(tmp_path: Path, uri: str, message: str) -> None:
    with pytest.raises(TrackingError) as caught:
        tracking_uri(uri, tmp_path)
    assert str(caught.value).startswith(f"tracking.uri: is {uri!r}, but {message}")
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("uri", ["http://[::1]:5000", "postgresql+psycopg2://u@h/db", "sqlite:////data/m.db"])
def test_an_address_that_mlflow_knows_is_taken_as_it_is(tmp_path: Path, uri: str) -> None:
    assert tracking_uri(uri, tmp_path) == uri


def test_the_environment_alone_may_hold_a_databases_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = "postgresql+psycopg2://u:p#w@h/db"
    with pytest.raises(TrackingError, match=r"^tracking\.uri: is 'postgresql\+psycopg2://…@h/db'"):
        tracking_uri(uri, tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert tracking_uri(None, tmp_path) == uri
    assert reach(uri, timeout=0.5)[1].startswith("postgresql://h ")


@pytest.mark.parametrize("uri", ["http://host:port", "http://:5000", "http://[::1", "http://host:99999"])
def test_a_server_without_a_name_or_with_no_port_is_named(tmp_path: Path, uri: str) -> None:
    with pytest.raises(TrackingError, match="names no server"):
        tracking_uri(uri, tmp_path)


@pytest.mark.parametrize(
    "uri", ["sqlite:///", "sqlite:///:memory:", "postgresql://[", "mysql+pymysql://[h/db"]
)
def test_a_database_that_is_none_is_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(TrackingError, match=r"names no file|is no address"):
        tracking_uri(uri, tmp_path)


def test_a_storage_that_is_moved_takes_the_queue_along(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "old" / "tracking")
    spool.put({"n": 0})
    (tmp_path / "old").rename(tmp_path / "new")
    spool.put({"n": 1})
    assert spool.pending > 0
    assert [spool.next(timeout=0)["n"]] == [0]  # type: ignore[index]
    spool.close()
    assert spool.next(timeout=0) is None and spool.pending > 0
    assert not (tmp_path / "old").exists()
    assert drain(Spool(tmp_path / "new" / "tracking")) == [0, 1]
