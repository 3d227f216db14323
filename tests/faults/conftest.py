"""A Ray cluster of several nodes on this machine, a calm run to compare with, drivers to be killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from by_value import by_value
from command_line import in_process

HERE = Path(__file__).parent
sys.path.append(str(HERE))

QUIET = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_ADDRESS": "local",  # no other test's cluster
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "OMP_NUM_THREADS": "1",
}


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What isn't of the fault suite runs with the long tests: each starts processes of its own."""
    for item in items:
        if item.path.parent == HERE and item.get_closest_marker("fault") is None:
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    """Nodes are missed after three seconds instead of a minute, in these tests and in what they start."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUIET.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def faulty() -> Iterator[Any]:
    """The module of toys, installed in this process until the test ends."""
    import faulty as module

    from wsss.cli.comparison import compare as cli_compare
    from wsss.config.stage import STAGES
    from wsss.pipeline.chains import execute
    from wsss.report import compare as report_compare
    from wsss.report import page
    from wsss.tuning import executor

    defaults: Any = execute.run_chain.__kwdefaults__
    before = STAGES.instead, dict(defaults), executor.ChainTrainable
    shown = report_compare.compare, cli_compare.show, cli_compare.comparison_json, page.write_page
    handler = signal.getsignal(signal.SIGTERM)
    with by_value(module.toy, module):
        module.install_driver()
        yield module
    STAGES.instead, old, executor.ChainTrainable = before  # type: ignore[misc]
    defaults.update(old)
    report_compare.compare, cli_compare.show, cli_compare.comparison_json, page.write_page = shown
    signal.signal(signal.SIGTERM, handler)


class Driver:
    """`launch.py` with toy stages, in a process of its own; what it prints is in `log`."""

    def __init__(self, log: Path, *words: object, **environment: str) -> None:
        self.log = log
        command = [sys.executable, str(HERE / "faulty.py"), *map(str, words)]
        with log.open("w") as stream:
            self.process = subprocess.Popen(
                command,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
                env={**os.environ, **environment},
            )

    @property
    def text(self) -> str:
        return self.log.read_text()

    def wait_for(self, seen: Callable[[], bool], timeout: float = 240) -> None:
        """Return once something has happened; fail when the driver ends before."""
        until = time.monotonic() + timeout
        while not seen():
            assert self.process.poll() is None, f"ended before: {self.text[-3000:]}"
            assert time.monotonic() < until, f"did not happen: {self.text[-3000:]}"
            time.sleep(0.02)

    def wait(self, timeout: float = 300) -> int:
        return self.process.wait(timeout)

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)

    def clean_up(self) -> None:
        """Leave nothing behind: the driver and all that it started are one process group."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.process.wait()


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    """Starts drivers: `drive("run", study, "--storage", storage)`."""
    started: list[Driver] = []

    def start(*words: object, **environment: str) -> Driver:
        started.append(Driver(tmp_path / f"log-{len(started)}", *words, **environment))
        return started[-1]

    yield start
    for driver in started:
        driver.clean_up()


@pytest.fixture
def storage(tmp_path: Path, empty_database: Path) -> Path:
    return new_storage(tmp_path / "storage", empty_database)


def new_storage(folder: Path, database: Path) -> Path:
    folder.mkdir()
    shutil.copy(database, folder / "mlflow.db")
    return folder


_CALM: dict[str, Path] = {}


@pytest.fixture
def calm(
    faulty: Any, empty_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Path], Path]:
    """Returns the storage of an undisturbed local run of a study file; each is run once."""

    def run(study: Path) -> Path:
        text = study.read_text()
        if text not in _CALM:
            folder = new_storage(tmp_path_factory.mktemp("calm") / "storage", empty_database)
            faulty.heal(folder)
            done = in_process("run", study, "--storage", folder, "--local")
            assert done.returncode == 0, done.stderr
            _CALM[text] = folder
        return _CALM[text]

    return run


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without CPUs, to which tests add nodes of one CPU each."""
    from wsss.tuning import environment as _environment  # noqa: F401 - before Ray is imported

    from ray.cluster_utils import Cluster  # isort: skip

    store = 100 * 1024**2
    found = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "object_store_memory": store, "include_dashboard": False},
    )
    yield found
    found.shutdown()


@pytest.fixture
def nodes(cluster: Any) -> Iterator[Any]:
    """The cluster with two nodes of one CPU each, which are gone after the test."""
    added = [cluster.add_node(num_cpus=1, object_store_memory=100 * 1024**2) for _ in range(2)]
    yield cluster
    for node in added:
        if node in cluster.worker_nodes:
            cluster.remove_node(node)
