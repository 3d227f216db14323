"""Whether a cluster can be joined is found out soon, and a worker leaves when its head is gone."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest

from wsss.errors import PreflightError
from wsss.tuning.joining import auth, leaving, reaching


def test_an_address_that_nothing_listens_at_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    began = time.monotonic()
    with pytest.raises(PreflightError, match=r"127\.0\.0\.1:9: nothing answers there"):
        reaching.check_reachable("127.0.0.1:9")
    assert time.monotonic() - began < 10


def test_what_is_no_head_of_ray_is_refused_within_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setattr(reaching, "CONNECT_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(PreflightError, match="does not answer as a Ray cluster"):
            reaching.check_reachable(address)


@pytest.mark.parametrize("address", ["http://head:8265", "ray://head:10001"])
def test_what_is_not_the_heads_address_is_said_at_once(address: str) -> None:
    """Ray waits for half a minute for its client's server, and says three lines of a dashboard."""
    with pytest.raises(PreflightError, match="is not HOST:PORT of the head") as caught:
        reaching.check_reachable(address)
    assert len(str(caught.value).splitlines()) == 1


class Head(grpc.GenericRpcHandler):
    """Answers any question, or wants a token first."""

    def __init__(self, asks: bool) -> None:
        self.asks = asks

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            if self.asks:
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")
            return b""

        return grpc.unary_unary_rpc_method_handler(answer)


@contextlib.contextmanager
def head(asks: bool) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(1), handlers=[Head(asks)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


@pytest.fixture
def _no_mode(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "ab" * 32)
    monkeypatch.setattr(reaching, "_ask_head", lambda address: ["127.0.0.1"])
    monkeypatch.setattr(reaching, "Config", SimpleNamespace(initialize=lambda text: None))


@pytest.mark.usefixtures("_no_mode")
@pytest.mark.parametrize(("asks", "mode"), [(True, "token"), (False, "disabled")])
def test_a_token_is_shown_where_one_is_asked_for_alone(asks: bool, mode: str) -> None:
    """Ray starts no trial where the head and the run differ: the actor "was cancelled before it started"."""
    with head(asks) as address:
        reaching.check_reachable(address)
    assert os.environ["RAY_AUTH_MODE"] == mode


@pytest.mark.usefixtures("_no_mode")
def test_a_mode_that_was_asked_for_and_differs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    with (
        head(False) as address,
        pytest.raises(PreflightError, match=r"asks for no token .unset RAY_AUTH_MODE"),
    ):
        reaching.check_reachable(address)


@pytest.mark.usefixtures("_no_mode")
def test_the_cluster_here_is_checked_before_work_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(reaching, "running_here", lambda: "127.0.0.1:9")
    monkeypatch.setattr(reaching.ray, "is_initialized", lambda: False)
    reaching.check_named(None)
    with pytest.raises(PreflightError, match="nothing answers there"):
        reaching.check_named(None, here=True)


def test_a_machine_that_is_no_node_is_told_how_to_submit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setattr(reaching, "_asks_for_token", lambda address: False)
    monkeypatch.setattr(reaching, "_ask_head", lambda address: ["203.0.113.7"])
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(PreflightError, match=r"no node of that cluster.*203\.0\.113\.7.*cluster submit"):
            reaching.check_reachable(address)
        monkeypatch.setattr(reaching, "_ask_head", lambda address: ["127.0.0.1"])
        reaching.check_reachable(address)


def test_the_cluster_that_runs_here_counts_if_it_is_ours_and_answers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    noted = tmp_path / "ray_current_cluster"
    monkeypatch.setattr(reaching, "get_ray_address_file", lambda folder: str(noted))
    monkeypatch.setattr(reaching.services, "find_bootstrap_address", lambda folder: noted.read_text())
    assert reaching.running_here() is None, "nothing is noted"
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        noted.write_text(address)
        assert reaching.running_here() == address
        monkeypatch.setattr(os, "getuid", lambda: 4711)
        assert reaching.running_here() is None, "another user's"
        monkeypatch.undo()
    assert not reaching._takes_connections(address)


def test_a_token_that_is_there_means_token_mode(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    auth.settle_mode()
    assert "RAY_AUTH_MODE" not in os.environ
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text("ab" * 32)
    auth.settle_mode()
    assert os.environ["RAY_AUTH_MODE"] == "token"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    auth.settle_mode()
    assert os.environ["RAY_AUTH_MODE"] == "disabled", "what is said counts"


def test_a_worker_leaves_when_its_head_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving.wait_until_gone, "__kwdefaults__", {"look": 0.02, "patience": 0.2})
    left = threading.Event()
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        threading.Thread(target=leaving.leave, args=(address, left.set), daemon=True).start()
        assert not left.wait(0.5), "the head is there"
    assert left.wait(10)
