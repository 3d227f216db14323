"""Reaching a dashboard, and following a job that it has taken, to its end or that of the cluster."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from wsss.errors import ConfigError, PreflightError
from wsss.tuning.joining import dashboard, following


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("localhost:8265", "http://localhost:8265"),
        ("http://head:8265/", "http://head:8265"),
        ("https://ray.example/lab", "https://ray.example/lab"),
        ("[::1]:8265", "http://[::1]:8265"),
    ],
)
def test_an_address_without_a_scheme_is_a_dashboards(given: str, expected: str) -> None:
    """Ray takes it for the head's, which it tries to reach for forty seconds."""
    assert dashboard.dashboard_address(given) == expected


@pytest.mark.parametrize(
    "given",
    ["auto", "", ":8265", "http://", "http://h:99999", "http://h:abc", "ray://h:10001", "h h:8265", "h:0"],
)
def test_what_is_no_address_of_a_dashboard_is_refused(given: str) -> None:
    with pytest.raises(
        ConfigError, match=r"^--address: is (empty|.* but must be a dashboard's|.*port must be)"
    ):
        dashboard.dashboard_address(given)


def serve(answer: bytes) -> Iterator[str]:
    """A server that says one thing to everybody."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            with contextlib.suppress(OSError):
                while True:
                    taken, _ = server.accept()
                    taken.recv(4096)
                    taken.sendall(answer)
                    taken.close()

        threading.Thread(target=run, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", "refuses the token"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "refuses the token"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "is no dashboard of Ray"),
        (b"", "is no dashboard of Ray"),
    ],
)
def test_what_answers_in_place_of_a_dashboard_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, answer: bytes, told: str
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "ab" * 32)
    for address in serve(answer):
        with pytest.raises(PreflightError, match=told) as caught:
            dashboard.check_dashboard(address)
        assert len(caught.value.problems) == 1


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Content-Length: 2\r\n\r\n[]",
        OK + b"Content-Length: 5\r\n\r\n<htm>",
        OK + b'Content-Length: 16\r\n\r\n{"version": "4"}',
        OK + b"Content-Length: 70000\r\n\r\n" + b"[" * 70_000,
        OK + b'\r\n{"ray_version": "' + b"x" * 10**6,
    ],
    ids=["list", "page", "another", "deep", "large"],
)
def test_another_server_is_no_dashboard(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    for address in serve(answer):
        with pytest.raises(PreflightError, match="is no dashboard of Ray"):
            dashboard.check_dashboard(address)
    for address in serve(OK + b'Content-Length: 23\r\n\r\n{"ray_version": "2.55"}'):
        dashboard.check_dashboard(address)


def test_a_server_that_never_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setattr(dashboard, "ANSWER_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            with contextlib.suppress(OSError):
                taken, _ = server.accept()
                taken.sendall(OK + b"Content-Length: 9999\r\n\r\n")
                while True:
                    taken.sendall(b"{")
                    time.sleep(0.1)

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        with pytest.raises(PreflightError, match="timed out"):
            dashboard.check_dashboard(f"http://127.0.0.1:{server.getsockname()[1]}")
    thread.join(10)


def test_a_token_that_is_asked_for_and_missing_is_said_before_ray_ends_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/nowhere")
    with pytest.raises(PreflightError, match="no token was found"):
        dashboard.check_dashboard("http://127.0.0.1:9")


@pytest.mark.parametrize("mode", ["disabled", "banana"])
def test_a_token_that_is_not_shown_is_blamed_on_the_variable(
    monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    for address in serve(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"):
        with pytest.raises(PreflightError, match=f"asks for a token .RAY_AUTH_MODE is '{mode}'.*unset it"):
            dashboard.check_dashboard(address)


class Client:
    """A job server that says what a job prints, and ends, breaks or falls silent."""

    said: tuple[str, ...] = (
        "2026 INFO Runtime env is setting up.\nRunning entry",
        "point for job 1: a\nstudy\n",
        "end",
    )
    breaks: Exception | None = None
    silent = False

    def __init__(self, address: str) -> None:
        pass

    async def tail_job_logs(self, number: str) -> AsyncIterator[str]:
        for text in self.said:
            yield text
        if self.breaks:
            raise self.breaks
        if self.silent:
            await asyncio.sleep(60)

    def get_job_info(self, number: str) -> SimpleNamespace:
        return SimpleNamespace(status="SUCCEEDED", driver_exit_code=0)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> type[Client]:
    fresh = type("Fresh", (Client,), {})
    monkeypatch.setattr(following, "JobSubmissionClient", fresh)
    return fresh


def test_what_ray_says_before_a_job_is_none_of_its_output(
    client: type[Client], capsys: pytest.CaptureFixture[str]
) -> None:
    assert following.follow_job("raysubmit_1", "http://localhost:9") == 0
    printed = capsys.readouterr()
    assert printed.out == "study\nend"
    assert printed.err == "2026 INFO Runtime env is setting up.\nRunning entrypoint for job 1: a\n"


def test_a_job_that_did_not_start_is_shown_whole(
    client: type[Client], capsys: pytest.CaptureFixture[str]
) -> None:
    client.said = ("Runtime env is setting up.\n", "no space left\n")
    following.follow_job("raysubmit_1", "http://localhost:9")
    assert capsys.readouterr().out == "Runtime env is setting up.\nno space left\n"


def test_a_cluster_lost_on_the_way_is_said_in_one_line(client: type[Client]) -> None:
    client.breaks = RuntimeError("WebSocket connection closed unexpectedly with close code 1006")
    told = (
        r"can't be followed any more: WebSocket .* ray job logs raysubmit_3 .*same `cluster submit` goes on"
    )
    with pytest.raises(PreflightError, match=told):
        following.follow_job("raysubmit_3", "http://localhost:9")


def test_a_head_that_falls_silent_is_missed(client: type[Client], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a host loses its power, or its network, nothing closes the connection."""
    client.silent = True
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(following, "PATIENCE", 0.3)
    with pytest.raises(
        PreflightError, match=r"the dashboard has not answered for 0 s .*goes on once it is up"
    ):
        following.follow_job("raysubmit_3", "http://127.0.0.1:9")


def test_a_head_that_answers_is_not_missed(client: type[Client], monkeypatch: pytest.MonkeyPatch) -> None:
    client.silent = True
    asked: list[str] = []
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(following, "PATIENCE", 0.1)
    monkeypatch.setattr(following, "ask", lambda address: asked.append(address) or 200)
    monkeypatch.setattr(asyncio, "sleep", _shorter(asyncio.sleep))
    assert following.follow_job("raysubmit_3", "http://h:8265") == 0
    assert len(asked) > 5 and set(asked) == {"http://h:8265"}


def _shorter(sleep: Any) -> Any:
    return lambda seconds: sleep(min(seconds, 0.5))


def test_who_stops_following_is_told_that_the_job_goes_on(
    client: type[Client], capsys: pytest.CaptureFixture[str]
) -> None:
    client.breaks = KeyboardInterrupt()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        following.follow_job("raysubmit_4", "http://h:8265")
    told = capsys.readouterr().err
    assert "the job goes on: ray job logs raysubmit_4 --address http://h:8265 --follow" in told
    assert "ray job stop raysubmit_4 --address http://h:8265" in told
