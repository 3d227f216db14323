"""Data for tests: a tiny hand-made devkit, and real PASCAL VOC photos where there are any."""

from __future__ import annotations

import contextlib
import multiprocessing.util
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_once import made_once
from s3_server import s3_server
from tiny_data import TINY_DATA
from tiny_devkit import write_tiny_voc

from wsss.tracking import database

# Before torch is loaded, here and in what tests start. Workers of the suite share the cores: a thread that
# spins while it waits for others takes the core from the one that it waits for.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    workers = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))


# Tests start hundreds of processes: none compiles again what another has compiled.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

MAKE_DATABASE = database._new


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """What `-n auto` means: one worker more than cores, as some tests wait for Ray or for a server."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what waits for Ray most of its time: other workers of the suite use the cores meanwhile."""
    items.sort(key=lambda item: item.path.parent.name != "tuning")


@pytest.fixture(scope="session", autouse=True)
def _disks_at_leisure() -> Iterator[None]:
    """Nothing waits until bytes are on the disk: no test cuts the power, and that was half of the time.

    Tests of what is synced, and when, put their own `os.fsync` in this one's place.
    """
    connect = sqlite3.dbapi2.connect  # as SQLAlchemy calls it for MLflow

    def connected(*arguments: Any, **options: Any) -> sqlite3.Connection:
        database = connect(*arguments, **options)
        with contextlib.suppress(sqlite3.Error):  # of a broken file, which is for others to tell
            database.execute("PRAGMA synchronous = OFF")
        return database

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda number: None)
        patch.setattr(sqlite3.dbapi2, "connect", connected)
        yield


@pytest.fixture(scope="session", autouse=True)
def _folder_of_sockets() -> None:
    """Python makes one a process, on first use: not in a TMPDIR that goes with the test that set it."""
    multiprocessing.util.get_temp_dir()


KEPT_BY_LIBRARIES = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "MLFLOW_TRACKING_URI")


LEADS = ("RAY_ADDRESS", "WSSS_", "MLFLOW_TRACKING", "HOME", "TMPDIR", "PATH", "CUDA_VISIBLE")
"""Beginnings of variables that say where to look: one that a test leaves behind leads later tests elsewhere."""


def _leads() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(LEADS)}


GIVEN = _leads()


@pytest.fixture(scope="module", autouse=True)
def _the_environment_is_as_given() -> None:
    """Before each module, and before what its folder sets for it: nothing from the modules before is left."""
    assert _leads() == GIVEN, "an earlier test or fixture of this process left these variables changed"


@pytest.fixture(autouse=True)
def _what_libraries_remember() -> Iterator[None]:
    """Ray and MLflow keep a token and an address in the process: the next test starts without this one's."""
    before = {name: os.environ.get(name) for name in KEPT_BY_LIBRARIES}
    yield
    after = {name: os.environ.get(name) for name in KEPT_BY_LIBRARIES}
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    if "ray._raylet" in sys.modules and any(
        before[name] != after[name] for name in KEPT_BY_LIBRARIES if name.startswith("RAY")
    ):
        sys.modules["ray._raylet"].AuthenticationTokenLoader.instance().reset_cache()


@pytest.fixture
def tiny_voc(tmp_path: Path) -> Path:
    return write_tiny_voc(tmp_path / "voc")


@pytest.fixture(scope="session")
def voc_root() -> Path:
    """Real PASCAL VOC photos, from WSSS_VOC_ROOT or beside the repository."""
    beside = Path(__file__).parents[2] / "shared/data/VOCdevkit/VOC2012"
    root = Path(os.environ.get("WSSS_VOC_ROOT", beside))
    if not (root / "JPEGImages").is_dir():
        pytest.skip(f"no PASCAL VOC at {root}: set WSSS_VOC_ROOT to a VOC2012 folder")
    return root


TINY_STUDY = (
    f"name: tiny\n{TINY_DATA}"
    + """\
sweeps:
  - name: cam
    arms:
      baseline:
        stages: [classifier: &small {method: cam, backbone: efficientnet_lite0, epochs: 3, batch: 4, crop: 64, long_side: [64, 96], rung: {images: 4}}, cams: {scales: [1.0]}]
      fmix:
        search: {alpha: {uniform: [0.5, 2.0]}}
        samples: 2
        stages: [classifier: {method: fmix, backbone: efficientnet_lite0, epochs: 3, batch: 4, crop: 64, long_side: [64, 96], rung: {images: 4}, mixing: {alpha: $alpha}}, cams: {scales: [1.0]}]
  - name: masks
    stages: [pseudo_masks: {crf: {iterations: 2}}]
allow: [unequal_tuning]
""".replace("&small ", "")
)


@pytest.fixture(scope="session")
def tiny_study_text() -> str:
    return TINY_STUDY


@pytest.fixture
def tiny_study(tmp_path: Path) -> Path:
    """A study file that runs within seconds: two arms, three trials, two sweeps."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY_STUDY)
    return path


@pytest.fixture(scope="session")
def finished_study(
    tiny_study_text: str, empty_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with `tiny.yaml`, which was run once, locally, into its folder `runs`.

    All workers share it. A test that changes it or runs other studies there takes a copy: `copied_study`.
    """
    from command_line import in_process

    def make(folder: Path) -> None:
        (folder / "tiny.yaml").write_text(tiny_study_text)
        (folder / "runs").mkdir()
        shutil.copy(empty_database, folder / "runs" / "mlflow.db")
        run = in_process("run", folder / "tiny.yaml", "--local", "--storage", folder / "runs")
        assert run.returncode == 0, run.stderr
        assert "Computed" in run.stdout
        assert "floor" in run.stdout

    return made_once(tmp_path_factory, "finished", make)


@pytest.fixture(scope="module")
def copied_study(finished_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(finished_study, tmp_path_factory.mktemp("copied") / "study"))


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs."""
    return _empty_database(tmp_path_factory)


def _empty_database(factory: pytest.TempPathFactory) -> Path:
    def make(folder: Path) -> None:
        MAKE_DATABASE(folder / "mlflow.db").rename(folder / "mlflow.db")

    return made_once(factory, "empty-database", make) / "mlflow.db"


@pytest.fixture(scope="session", autouse=True)
def _databases_are_copied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An empty MLflow database takes a second to make and none to copy.

    Tests of how it is made ask for `databases_are_made`.
    """

    def copied(file: Path) -> Path:
        made = database._aside(file)
        shutil.copy(_empty_database(tmp_path_factory), made)
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "_new", copied)
        yield


@pytest.fixture
def databases_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_new", MAKE_DATABASE)


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """A real S3 server on this machine, as "host:port"."""
    with s3_server() as server:
        yield server
