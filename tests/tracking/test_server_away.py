"""A real MLflow server that is not there, comes, goes and comes back."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from story import METRIC, TRIALS, beginning, conclusion, ending, history, page, runs, tell, wait

from wsss.tracking.lookup import find_model
from wsss.tracking.tracker import MlflowTracker

pytestmark = pytest.mark.timeout(900)


class Server:
    """`mlflow server` on a port of its own; it can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self.folder}/server.db"]
        command += ["--artifacts-destination", str(self.folder / "files")]
        with (self.folder / "server.log").open("ab") as log:
            environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, env=environment
            )
        wait(self.answers)

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def stop(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture
def server(tmp_path: Path, empty_database: Path) -> Iterator[Server]:
    shutil.copy(empty_database, tmp_path / "server.db")
    found = Server(tmp_path)
    yield found
    found.stop()


@pytest.mark.long
def test_nothing_is_lost_while_a_server_is_away(server: Server, tmp_path: Path) -> None:
    # Away from the start: the study goes on, is told once, and keeps everything.
    warnings = tell(server.uri, tmp_path, beginning(tmp_path), seconds=3)
    assert sum("does not answer" in text for text in warnings) == 1
    assert "goes out when the study runs again" in warnings[-1]

    # There: what was kept goes out. Then it is killed in the middle and comes back.
    server.start()
    heard: list[str] = []
    tracker = MlflowTracker(server.uri, tmp_path / "studies" / "made", warn=heard.append)
    wait(lambda: tracker._spool.pending == 0)
    assert history(server.uri, runs(server.uri)[TRIALS[0].id], "classifier/loss") == [(1, 0.9), (2, 0.7)]
    server.stop()
    for event in [*beginning(tmp_path)[:3], *ending(tmp_path)]:
        tracker.on_event(event)
    tracker.conclude(conclusion(tmp_path), page(tmp_path))
    wait(lambda: any("does not answer" in text for text in heard))
    server.start()
    tracker.close(90)
    assert tracker._spool.pending == 0

    found = runs(server.uri)
    assert set(found) == {"cam", "made", *(trial.id for trial in TRIALS)}
    experiment = found["cam"].info.experiment_id
    assert tracker.page == f"{server.uri}/#/experiments/{experiment}/runs?workflowType=machine_learning"
    assert history(server.uri, found[TRIALS[0].id], "classifier/loss") == [(1, 0.9), (2, 0.7), (3, 0.6)]
    assert history(server.uri, found[TRIALS[1].id], METRIC) == [(0, 0.4)]
    assert (tmp_path / "files").is_dir(), "files went through the server"
    folder = find_model(server.uri, "models:/made@champion", tmp_path / "downloaded")
    assert folder is not None and folder.is_relative_to(tmp_path / "downloaded")
    assert {"MLmodel", "classes.txt", "classifier.safetensors"} <= {path.name for path in folder.iterdir()}
