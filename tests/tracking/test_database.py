"""MLflow's sqlite file: many that begin at once, files that are broken, old, new, or somebody else's."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from wsss.errors import TrackingError
from wsss.tracking import database as database_module
from wsss.tracking.database import examine, prepare
from wsss.tracking.lookup import find_run

pytestmark = pytest.mark.usefixtures("databases_are_made")

TOGETHER = """
import multiprocessing, sys
from pathlib import Path
from wsss.tracking.remote.replay import MlflowReplay
from wsss.tracking.database import artifacts_folder, examine, prepare

def work(uri, name, gate):
    gate.wait()
    for note in prepare(uri, patience=0.5):
        print(note, flush=True)
    replay = MlflowReplay(uri, artifacts_folder(uri))
    run = {"op": "run", "run": "sweep:x", "name": "x", "parent": "", "tags": {}, "params": {}, "cached": True}
    replay.do({**run, "study": name, "time": 1})

folder, count, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
examine(Path(folder, "none"))
import mlflow.store.tracking.sqlalchemy_store, mlflow.store.model_registry.sqlalchemy_store
forking = multiprocessing.get_context("fork")
for number in range(rounds):
    place = Path(folder, str(number))
    place.mkdir(exist_ok=True)
    gate = forking.Barrier(count)
    started = [
        forking.Process(target=work, args=(f"sqlite:///{place}/mlflow.db", f"s{n}", gate)) for n in range(count)
    ]
    for one in started:
        one.start()
    for one in started:
        one.join()
        assert one.exitcode == 0
"""


def execute(file: Path, *statements: str) -> None:
    with closing(sqlite3.connect(file)) as database, database:
        for statement in statements:
            database.execute(statement)


def together(folder: Path, *, count: int = 5, rounds: int = 4) -> list[str]:
    """Let processes open one database at the same instant, again and again; return what they said."""
    command = [sys.executable, "-c", TOGETHER, str(folder), str(count), str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for number in range(rounds):
        file = folder / str(number) / "mlflow.db"
        assert examine(file).state == "good"
        names = {one.name for one in MlflowClient(f"sqlite:///{file}").search_experiments()}
        assert names == {"Default", *(f"s{n}" for n in range(count))}, (
            "nobody writes to a file without a name"
        )
        assert not list(file.parent.glob(".mlflow.db.new-*"))
    return done.stdout.splitlines()


@pytest.mark.long
def test_processes_that_begin_at_once_make_one_whole_database(tmp_path: Path) -> None:
    assert together(tmp_path) == []


@pytest.mark.long
def test_processes_that_find_a_broken_one_set_it_aside_once(tmp_path: Path, empty_database: Path) -> None:
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        shutil.copy(empty_database, tmp_path / str(number) / "mlflow.db")
        execute(tmp_path / str(number) / "mlflow.db", "DROP TABLE runs")
    said = together(tmp_path, rounds=3)
    assert len(said) == 3 and all("it lacks the table runs" in line for line in said)
    for number in range(3):
        left = [path.name for path in (tmp_path / str(number)).glob("mlflow.db.*")]
        assert left == ["mlflow.db.broken-1"]


def half(file: Path) -> None:
    """Leave what MLflow leaves when it is killed while it makes its tables."""
    code = (
        "import os, sqlalchemy, alembic.command\n"
        "from mlflow.store.db import utils\n"
        "from mlflow.store.tracking.dbmodels.initial_models import Base\n"
        f"engine = sqlalchemy.create_engine('sqlite:///{file}')\n"
        "Base.metadata.create_all(engine)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def torn(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


BROKEN: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: file.write_bytes(b""),
    "no database": lambda file: file.write_text("nothing of the kind\n" * 99),
    "zeros": lambda file: file.write_bytes(bytes(8192)),
    "torn": torn,
    "half-made": lambda file: (file.unlink(), half(file)),
    "a table is missing": lambda file: execute(file, "DROP TABLE metrics"),
    "a column is missing": lambda file: execute(file, "ALTER TABLE runs DROP COLUMN deleted_time"),
    "no version": lambda file: execute(file, "DELETE FROM alembic_version"),
    "two versions": lambda file: execute(file, "INSERT INTO alembic_version VALUES ('451aebb31d03')"),
    "unknown version": lambda file: execute(file, "UPDATE alembic_version SET version_num = 'x'"),
    "only a version": lambda file: (
        file.unlink(),
        execute(file, "CREATE TABLE alembic_version (version_num VARCHAR(32))"),
    ),
    "a version that its tables are not of": lambda file: execute(
        file, "UPDATE alembic_version SET version_num = '451aebb31d03'"
    ),
}


@pytest.mark.parametrize("harm", BROKEN.values(), ids=BROKEN)
def test_a_broken_database_is_set_aside_with_one_line_and_a_whole_one_made(
    tmp_path: Path, uri: str, harm: Callable[[Path], object]
) -> None:
    file = tmp_path / "mlflow.db"
    harm(file)
    content = file.read_bytes()
    (note,) = prepare(uri, patience=0.3)
    assert note.startswith(f"{file} is no database that MLflow can use (") and "\n" not in note
    assert (tmp_path / "mlflow.db.broken-1").read_bytes() == content
    assert examine(file).state == "good"
    assert MlflowClient(uri).search_experiments()[0].name == "Default"
    assert prepare(uri) == []


def test_what_belongs_to_a_broken_file_goes_with_it(tmp_path: Path, uri: str) -> None:
    """A log left beside the new file would be played back into it."""
    (tmp_path / "mlflow.db").write_text("nothing of the kind")
    (tmp_path / "mlflow.db-wal").write_text("of before")
    prepare(uri, patience=0.1)
    assert not (tmp_path / "mlflow.db-wal").exists()
    assert (tmp_path / "mlflow.db.broken-1-wal").read_text() == "of before"


def test_a_second_broken_one_gets_another_name(tmp_path: Path, uri: str) -> None:
    for text in ("first", "second"):
        (tmp_path / "mlflow.db").write_text(text)
        prepare(uri, patience=0.1)
    assert [(tmp_path / f"mlflow.db.broken-{n}").read_text() for n in (1, 2)] == ["first", "second"]


def test_one_that_somebody_is_still_making_is_waited_for(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`mlflow ui` on a new file makes its tables in place."""
    file = tmp_path / "mlflow.db"
    file.write_bytes(b"")

    def grow() -> None:
        for n in range(8):
            time.sleep(0.3)
            file.write_bytes(bytes(n + 1))
        shutil.copy(empty_database, file)

    writer = threading.Thread(target=grow)
    writer.start()
    assert prepare(f"sqlite:///{file}", patience=1.5) == []
    writer.join()
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["mlflow.db"]


@pytest.mark.long
def test_one_of_an_older_mlflow_is_upgraded_aside_and_kept(tmp_path: Path, empty_database: Path) -> None:
    """Taken back by alembic to the version before: what an older MLflow leaves."""
    file, uri = tmp_path / "mlflow.db", f"sqlite:///{tmp_path}/mlflow.db"
    half(file)
    code = (
        "import alembic.command, sqlalchemy\nfrom mlflow.store.db.utils import _get_alembic_config\n"
        f"config = _get_alembic_config('sqlite:///{file}')\n"
        f"engine = sqlalchemy.create_engine('sqlite:///{file}')\n"
        "with engine.begin() as connection:\n"
        "    config.attributes['connection'] = connection\n"
        "    alembic.command.upgrade(config, '7f2a7d5fae7d')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    execute(
        file,
        "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage)"
        " VALUES (1, 'mine', 'file:///elsewhere', 'active')",
        "INSERT INTO experiment_tags (key, value, experiment_id) VALUES ('owner', 'me', 1)",
    )
    assert examine(file).state == "older"
    content = file.read_bytes()
    (note,) = prepare(uri, patience=0.2)
    assert "was of an older MLflow and has been upgraded" in note
    assert (tmp_path / "mlflow.db.7f2a7d5fae7d-1").read_bytes() == content
    experiment = MlflowClient(uri).get_experiment("1")
    assert experiment.name == "mine" and experiment.tags["owner"] == "me"


def test_one_of_a_newer_mlflow_is_left_alone_and_named(tmp_path: Path, uri: str) -> None:
    file = tmp_path / "mlflow.db"
    execute(file, "UPDATE alembic_version SET version_num = 'ffffffffffff'")
    content = file.read_bytes()
    with pytest.raises(TrackingError) as caught:
        prepare(uri, patience=0.1)
    assert "was made by a newer MLflow" in str(caught.value) and "`sync`" in str(caught.value)
    assert file.read_bytes() == content and not list(tmp_path.glob("mlflow.db.*"))


@pytest.mark.parametrize("kind", ["other program", "folder", "pipe"])
def test_what_is_not_mlflows_is_left_alone(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "mlflow.db"
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    else:
        execute(file, "CREATE TABLE recipes (name TEXT)")
    with pytest.raises(TrackingError, match=r"mlflow\.db: is (a|no file)"):
        prepare(f"sqlite:///{file}", patience=0.1)
    assert not file.is_file() or examine_tables(file) == ["recipes"]


def examine_tables(file: Path) -> list[str]:
    with closing(sqlite3.connect(file)) as database:
        return [row[0] for row in database.execute("SELECT name FROM sqlite_master")]


def test_a_killed_maker_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    code = f"from wsss.tracking.database import prepare; prepare({uri!r})"
    maker = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".mlflow.db.new-*")) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(maker.pid, signal.SIGKILL)
    maker.wait()
    assert list(tmp_path.glob(".mlflow.db.new-*")) and not (tmp_path / "mlflow.db").exists()
    assert prepare(uri) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mlflow.db.lock", "mlflow.db"]


def test_a_file_system_without_hard_links_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(database_module.os, "link", refuse)
    uri, file = f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "mlflow.db"
    assert prepare(uri) == []
    file.write_bytes(b"x")
    assert len(prepare(uri, patience=0.1)) == 1
    assert examine(file).state == "good" and (tmp_path / "mlflow.db.broken-1").read_bytes() == b"x"


def test_asking_for_a_run_makes_and_mends_nothing(tmp_path: Path, uri: str) -> None:
    run = "0" * 32
    assert find_run(uri, run) is None
    file = tmp_path / "mlflow.db"
    file.write_text("nothing of the kind")
    with pytest.raises(TrackingError, match="is no database that MLflow can use"):
        find_run(uri, run)
    file.unlink()
    assert find_run(uri, run) is None
    assert not file.exists()
