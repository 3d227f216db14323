"""A study whose storage is an S3 bucket, from the command line: run, killed, gone on with on a machine
that has nothing of it, compared, listed, pruned."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import in_process
from s3_server import s3_address

from wsss.store.objects.client import Objects

ROOT = Path(__file__).parents[2]


@pytest.fixture
def uri(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("WSSS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return s3_address(s3)


def artefacts(uri: str) -> list[str]:
    """Return the keys of finished artefacts, once for every writer."""
    found = [one.name.split("/") for one in Objects(uri).below("store")]
    return sorted(parts[2] for parts in found if parts[-1] == "artefact.json")


@pytest.mark.long
def test_killed_and_gone_on_with_on_another_machine(uri: str, tiny_study: Path, tmp_path: Path) -> None:
    words = [sys.executable, str(ROOT / "launch.py"), "run", str(tiny_study), "--local", "--storage", uri]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_ADDRESS": "local"}
    with (tmp_path / "log").open("w") as log:
        running = subprocess.Popen(words, env=environment, stdout=log, stderr=log, cwd=tmp_path)
        until = time.monotonic() + 200
        while len(artefacts(uri)) < 4:
            assert running.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < until
            time.sleep(0.2)
        running.send_signal(signal.SIGKILL)
        running.wait()
    before = artefacts(uri)
    shutil.rmtree(tmp_path / "cache")
    ended = in_process("resume", "tiny", "--local", "--storage", uri, "--json", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    result: dict[str, Any] = json.loads(ended.stdout)
    after = artefacts(uri)
    assert set(before) <= set(after) and len(after) == len(set(after)), "nothing was made a second time"
    assert result["computed"] == len(set(after) - set(before))
    assert result["storage"] == uri
    left = {one.name.split("/")[2] for one in Objects(uri).below("store/partial")}
    assert left <= set(before), "killed after a commit and before it tidied up, at most"
    # Another machine once more: all is found, nothing computed.
    shutil.rmtree(tmp_path / "cache")
    again = json.loads(
        in_process("run", tiny_study, "--local", "--storage", uri, "--json", cwd=tmp_path).stdout
    )
    assert again["computed"] == 0 and again["comparison"] == result["comparison"]
    table = in_process("compare", "tiny", "--storage", uri, "--format", "csv")
    assert "fmix" in table.stdout
    plan = in_process("plan", tiny_study, "--storage", uri, "--json")
    assert all(row["to_make"] == 0 for row in json.loads(plan.stdout)["sweeps"])
    listed = json.loads(in_process("storage", "ls", "--storage", uri, "--json").stdout)
    assert sorted(entry["key"] for entry in listed) == after
    evicted = [entry for entry in listed if entry["evicted"]]
    assert evicted and all(entry["stage"] != "scores" for entry in evicted), "fmix tried two, kept one"
    pruned = in_process("storage", "prune", "--storage", uri)
    assert pruned.returncode == 0, pruned.stderr
    assert artefacts(uri) == after
    assert Objects(uri).below("store/partial") == []


def comparison(done: Any) -> dict[str, Any]:
    """Return the table that a run printed, without the places of masks and the hours, which differ."""
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["comparison"]
    assert all(row.pop("masks")["pseudo_masks"] for row in found["rows"])
    assert all(row["tried"].pop("hours") > 0 for row in found["rows"])
    for row in found["table"]:
        row.pop("hours")
    return found


@pytest.fixture(scope="module")
def of_a_folder(tiny_study_text: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The table of a small local run whose storage is a folder."""
    folder = tmp_path_factory.mktemp("folder")
    (folder / "tiny.yaml").write_text(tiny_study_text)
    words = ("run", "tiny.yaml", "--smoke", "--local", "--storage", folder / "runs", "--json")
    return comparison(in_process(*words, cwd=folder))


@pytest.mark.long
def test_results_are_those_of_a_folder(
    uri: str, tiny_study: Path, tmp_path: Path, of_a_folder: dict[str, Any]
) -> None:
    words = ("run", tiny_study, "--smoke", "--local", "--storage", uri, "--json")
    assert comparison(in_process(*words, cwd=tmp_path)) == of_a_folder


@pytest.mark.long
@pytest.mark.timeout(600)
def test_trials_on_ray_share_a_bucket(
    uri: str, tiny_study: Path, tmp_path: Path, of_a_folder: dict[str, Any]
) -> None:
    """Trials are processes of their own, which find in the bucket what others made and leave theirs."""
    words = [sys.executable, str(ROOT / "launch.py"), "run", str(tiny_study), "--smoke", "--json"]
    words += ["--storage", uri, "--address", "local"]  # other tests have a cluster on this machine
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert comparison(done) == of_a_folder
    keys = artefacts(uri)
    assert len(keys) == len(set(keys)) > 5
    partial = [one.name for one in Objects(uri).below("store/partial")]
    assert partial == [], "leases and checkpoints of what has ended are gone"


@pytest.mark.parametrize(
    ("address", "code", "message"),
    [
        ("s4://bucket/x", 2, "there is no storage of the kind 's4'"),
        ("s3://key:secret@bucket/x", 2, "keys don't belong into them"),
        ("s3:///x", 2, "names no bucket"),
        ("s3://nobucket/x?endpoint_override={s3}&scheme=http", 3, "s3://nobucket/x/"),
    ],
)
def test_an_address_of_no_use_is_refused_before_anything_runs(
    uri: str, s3: str, tiny_study: Path, address: str, code: int, message: str
) -> None:
    done = in_process("run", tiny_study, "--local", "--storage", address.format(s3=s3))
    assert done.returncode == code
    assert message in done.stderr
    assert "secret" not in done.stderr
