"""`mlflow`: what it starts, what it prints, and what it refuses."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
import story
import toy_studies as toy
from command_line import in_process
from mlflow.tracking import MlflowClient

from wsss.pipeline.past.stored_studies import stored_text
from wsss.store.storage import open_storage

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture
def study_in_mlflow(tmp_path: Path, uri: str) -> tuple[Path, str]:
    """A storage with a study that nothing has run, and the id of its experiment."""
    study = toy.study(tmp_path, "name: cam, stages: [classifier, cams]")
    storage = open_storage(tmp_path)
    storage.write_study(study.name, stored_text(study, storage))
    return tmp_path, MlflowClient(uri).create_experiment(study.name)


def test_the_server_is_this_machine_s_alone_and_its_page_is_the_study_s_runs(
    study_in_mlflow: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, experiment = study_in_mlflow
    started: list[Any] = []

    def instead(*args: Any) -> None:
        started.append(args)

    monkeypatch.setattr(os, "execve", instead)
    port = free_port()
    end = in_process("mlflow", "toy", "--storage", storage, "--port", port)
    assert end.returncode == 0, end.stderr
    assert (
        f"http://127.0.0.1:{port}/#/experiments/{experiment}/runs?workflowType=machine_learning" in end.stdout
    )
    (_, command, environment) = started[0]
    words = dict(zip(command[4::2], command[5::2], strict=True))
    assert words["--host"] == "127.0.0.1" and words["--port"] == str(port)
    assert words["--backend-store-uri"] == f"sqlite:///{storage}/mlflow.db"
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    from mlflow.cli import cli  # takes two seconds

    known = {option for parameter in cli.commands["server"].params for option in parameter.opts}
    assert set(words) <= known, "MLflow has these options"


def test_a_taken_port_a_missing_database_and_an_unknown_study_are_said_at_once(
    study_in_mlflow: tuple[Path, str],
) -> None:
    storage, _ = study_in_mlflow
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        end = in_process("mlflow", "toy", "--storage", storage, "--port", taken.getsockname()[1])
    assert end.returncode == 3 and "--port" in end.stderr and "Traceback" not in end.stderr
    other = in_process("mlflow", "toi", "--storage", storage)
    assert other.returncode == 2 and "'toy'" in other.stderr
    (storage / "mlflow.db").unlink()
    gone = in_process("mlflow", "toy", "--storage", storage)
    assert gone.returncode == 3 and "`sync`" in gone.stderr


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.long
@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_a_browser_shows_the_runs_and_the_answer_where_the_printed_link_leads(
    finished_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from playwright.sync_api import sync_playwright

    started: list[Any] = []
    monkeypatch.setattr(os, "execve", lambda *args: started.append(args))
    port = free_port()
    end = in_process("mlflow", "tiny", "--storage", finished_study / "runs", "--port", port)
    (link,) = re.findall(r"http://\S+", end.stdout)
    (_, command, environment) = started[0]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(command, env=environment, start_new_session=True, **quiet)
    try:
        story.wait(lambda: listens(port), seconds=90)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            page.set_default_timeout(120_000)  # other tests use the processors, too
            page.goto(link)
            for name in ("cam", "masks", "tiny"):  # the sweeps, and what the study came to
                page.get_by_role("link", name=name, exact=True).first.wait_for(timeout=60_000)
            assert "leads with" in page.inner_text("body") or "nothing beats" in page.inner_text("body")
            browser.close()
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
