"""Ray's token: whose it is, and that Ray on this machine asks for it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from command_line import in_process

from wsss.errors import PreflightError
from wsss.tuning.joining.auth import look_at_mode, look_at_token, secure_token

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")  # so that what is set meanwhile is undone
        monkeypatch.delenv(name)
    return tmp_path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_token_is_written_for_its_owner_alone(home: Path) -> None:
    assert look_at_token()[0] == "ok"
    old = os.umask(0)
    try:
        secure_token()
    finally:
        os.umask(old)
    path = home / ".ray/auth_token"
    assert mode(path) == 0o600 and mode(path.parent) == 0o700
    token = path.read_text()
    assert len(token) == 64 and int(token, 16), "256 bits, as Ray makes them"
    secure_token()
    assert path.read_text() == token
    assert look_at_token()[0] == "ok"
    assert [one.name for one in path.parent.iterdir()] == ["auth_token"]


@pytest.mark.parametrize("open_mode", [0o644, 0o640, 0o666])
def test_a_token_that_others_can_read_is_taken_from_them(home: Path, open_mode: int) -> None:
    path = home / ".ray/auth_token"
    path.parent.mkdir()
    path.write_text("a" * 64)
    path.chmod(open_mode)
    state, found = look_at_token()
    assert state == "note" and f"chmod 600 {path}" in found
    secure_token()
    assert mode(path) & 0o077 == 0 and path.read_text() == "a" * 64
    assert look_at_token()[0] == "ok"


def test_an_empty_token_is_none(home: Path) -> None:
    path = home / ".ray/auth_token"
    path.parent.mkdir()
    path.touch(0o644)
    secure_token()
    assert len(path.read_text()) == 64 and mode(path) == 0o600


def test_of_many_who_write_one_at_once_the_first_one_counts(home: Path) -> None:
    threads = [threading.Thread(target=secure_token) for _ in range(16)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    path = home / ".ray/auth_token"
    assert len(path.read_text()) == 64 and mode(path) == 0o600
    assert len(list(path.parent.iterdir())) == 1


def test_without_a_home_the_token_is_the_runs_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").touch()
    monkeypatch.setenv("HOME", str(home / "file"))
    secure_token()
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    assert look_at_token() == ("ok", "in RAY_AUTH_TOKEN")


def test_a_file_that_somebody_names_is_used_or_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home / "mine"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    with pytest.raises(PreflightError, match=r"^RAY_AUTH_TOKEN_PATH: names .*mine.*No such file"):
        secure_token()
    assert look_at_token()[0] == "bad"
    path.touch()
    with pytest.raises(PreflightError, match="which is empty"):
        secure_token()
    path.write_text("b" * 64)
    path.chmod(0o644)
    secure_token()
    assert mode(path) == 0o600
    assert not (home / ".ray").exists()


def test_modes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert look_at_mode()[0] == "ok", "unset, Ray on one machine asks for a token"
    monkeypatch.setenv("RAY_AUTH_MODE", "tokn")
    assert look_at_mode()[0] == "bad"
    with pytest.raises(PreflightError, match=r"^RAY_AUTH_MODE: is 'tokn' \(did you mean 'token'\?\)"):
        secure_token()
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert look_at_mode()[0] == "note"
    secure_token()
    assert not (home / ".ray").exists()
    monkeypatch.setenv("RAY_AUTH_MODE", "")
    secure_token()
    assert "RAY_AUTH_MODE" not in os.environ, "Ray would take the empty word for disabled"


def test_doctor_looks_at_both(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".ray").mkdir()
    (home / ".ray/auth_token").write_text("c" * 64)
    (home / ".ray/auth_token").chmod(0o644)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    done = in_process("doctor", "--json", "--storage", tmp_path / "runs")
    found = {entry["what"]: entry for entry in json.loads(done.stdout)}
    assert found["Ray's token"]["state"] == "note" and "0644" in found["Ray's token"]["detail"]
    assert found["Ray's mode"]["state"] == "note" and "disabled" in found["Ray's mode"]["detail"]


SCRIPT = """
import json, os, sys
from wsss.tuning.joining.cluster import connect
connect(None)
import psutil, ray
print(ray.get(ray.remote(lambda: 42).remote()))
listening = []
for process in psutil.Process().children(recursive=True):
    for one in process.net_connections(kind="inet"):
        if one.status == psutil.CONN_LISTEN:
            listening.append([process.name(), one.laddr.ip])
print(json.dumps({
    "listening": listening,
    "gcs": ray.get_runtime_context().gcs_address,
    "mode": os.environ.get("RAY_AUTH_MODE"),
    "session": ray._private.worker._global_node.get_session_dir_path(),
}), flush=True)
sys.stdin.readline()
ray.shutdown()
"""


@pytest.mark.timeout(240)
@pytest.mark.long
def test_ray_on_this_machine_asks_for_the_token_and_takes_a_short_folder(home: Path) -> None:
    """A TMPDIR of 150 characters, a home without a token; a stranger without the token gets nothing."""
    temporary = home / ("job." + "x" * 150)
    temporary.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)}
    environment.pop("RAY_TMPDIR", None)
    running = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert running.stdin and running.stdout and running.stderr
    try:
        lines = [running.stdout.readline() for _ in range(2)]
        assert lines[0] == "42\n", running.stderr.read()
        told = json.loads(lines[1])
        assert told["mode"] == "token"
        assert not told["session"].startswith(str(temporary))
        assert mode(home / ".ray/auth_token") == 0o600
        assert told["listening"], "Ray's processes were found"
        everywhere = {name for name, ip in told["listening"] if ip in ("0.0.0.0", "::")}
        assert "gcs_server" in everywhere, (
            "docs/cluster.md says so; if Ray no longer does, so much the better"
        )
        stranger = subprocess.run(
            [sys.executable, "-c", "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False); print('in')", told["gcs"]],
            env={**environment, "RAY_AUTH_MODE": "disabled"}, capture_output=True, text=True, timeout=100,
        )  # fmt: skip
        assert stranger.returncode != 0 and "in" not in stranger.stdout.split()
        assert "authent" in stranger.stderr.lower()
    finally:
        running.communicate("\n", timeout=60)
