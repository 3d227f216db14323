"""MLflow's sqlite file: made whole or not at all, recognised when it is broken, and at home where it lies.

MLflow makes its tables in place, in dozens of steps: two processes that do so at once, or one that is
killed, leave a file that no MLflow opens again. Here a new file is made aside and linked to its name, so that
the first one wins; a broken one is set aside under another name; and addresses of files inside it follow when
its folder was moved. Nothing is deleted. It can all be made again from ledger and store.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, unquote

from wsss.errors import Problem, TrackingError
from wsss.tracking.database_state import Found, columns_of, examine, open_database
from wsss.tracking.location import ARTIFACTS, database_file
from wsss.tracking.remote.quiet import quiet_mlflow

PATIENCE = 5.0
"""Seconds for which a file that looks half-made must not change before it counts as broken."""
COMPANIONS = ("-journal", "-wal", "-shm")
LINKS = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}
"""Where MLflow keeps addresses of files."""


def artifacts_folder(uri: str) -> Path | None:
    """Return where files go when MLflow is an sqlite file: beside it. A server decides for itself."""
    file = database_file(uri)
    return None if file is None else file.absolute().parent / ARTIFACTS


def prepare(uri: str, *, patience: float = PATIENCE) -> list[str]:
    """Make the file of an sqlite URI one that MLflow can use; return what to tell people of it.

    Does nothing for servers. Raises `TrackingError` for a file that isn't ours to set aside, that a newer
    MLflow made, or that can't be written.
    """
    file = database_file(uri)
    if file is None or file.name in ("", ":memory:"):
        return []
    quiet_mlflow()
    file = file.absolute()
    notes: list[str] = []
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if examine(file).state != "good":
            with _alone(file):
                notes = _mend(file, patience)
        old = moved_from(file)
        if old:
            relink(file, old)
            notes.append(f"{file} was moved here from {', '.join(sorted(old))}: its links now lead here")
    except (OSError, sqlite3.OperationalError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        hint = "everything is written down and sent by `resume` or `sync` later"
        raise TrackingError(Problem(str(file), f"can't be used: {reason}", hint)) from error
    return notes


def is_usable(uri: str) -> bool:
    """Whether there is something to ask: False for an sqlite file that isn't there. Makes and mends nothing.

    Raises `TrackingError` for a file that MLflow can't open.
    """
    quiet_mlflow()
    file = database_file(uri)
    if file is None or file.name in ("", ":memory:"):
        return True
    try:
        found = examine(file.absolute())
    except (OSError, sqlite3.OperationalError) as error:
        raise TrackingError(Problem(str(file), f"can't be read: {error}")) from error
    if found.state in ("missing", "good"):
        return found.state == "good"
    message = f"is no database that MLflow can use ({found.reason or f'of {found.state} MLflow'})"
    raise TrackingError(Problem(str(file), message, "`sync` mends it from ledger and store"))


def _mend(file: Path, patience: float) -> list[str]:
    """Bring a file into a good state, as the only process of ours that does."""
    found = _settled(file, patience)
    if found.state == "good":
        return []
    for left in file.parent.glob(f".{file.name}.new-*"):  # by a process that was killed
        left.unlink(missing_ok=True)
    if found.state == "missing":
        _publish(_new(file), file)
        return []
    if found.state == "newer":
        message = f"was made by a newer MLflow than this one (its tables are {found.revision})"
        hint = "install that version, or move the file away: `sync` makes a new one from ledger and store"
        raise TrackingError(Problem(str(file), message, hint))
    if found.state == "older":
        upgraded = _upgraded(file)
        if upgraded is not None:
            aside = _replace(file, upgraded, found.revision)
            return [f"{file} was of an older MLflow and has been upgraded; as it was, it is {aside.name}"]
        found = Found("broken", f"its tables are of version {found.revision} and can't be upgraded")
    aside = _replace(file, _new(file), "broken")
    about = f"{file} is no database that MLflow can use ({found.reason}) and is now {aside.name}"
    return [f"{about}; a new one is filled from ledger and store (`sync`: that of all studies)"]


def _settled(file: Path, patience: float) -> Found:
    """Return what a file is once it is in order, or nobody has changed it for a while."""
    found, stamp, since = examine(file), _stamp(file), time.monotonic()
    while found.state in ("broken", "older") and time.monotonic() - since < patience:
        time.sleep(min(0.2, patience))
        if _stamp(file) != stamp:
            stamp, since = _stamp(file), time.monotonic()
        found = examine(file)
    return found


def _stamp(file: Path) -> list[tuple[int, int, int]]:
    found = []
    for path in (file, *(file.with_name(file.name + end) for end in COMPANIONS)):
        with contextlib.suppress(OSError):
            facts = path.stat()
            found.append((facts.st_ino, facts.st_size, facts.st_mtime_ns))
    return found


@contextlib.contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Let one process of ours at a time mend a file. The lock goes with its holder. Sqlite itself locks in
    the same way: where this doesn't reach, no database works either."""
    with file.with_name(f".{file.name}.lock").open("ab") as lock:
        with contextlib.suppress(OSError):
            fcntl.lockf(lock, fcntl.LOCK_EX)
        yield


def _aside(file: Path) -> Path:
    return file.with_name(f".{file.name}.new-{uuid.uuid4().hex[:8]}")


def _new(file: Path) -> Path:
    """Make an empty database with all of MLflow's tables beside a file."""
    from mlflow import MlflowClient

    made = _aside(file)
    try:
        MlflowClient(f"sqlite:///{made}").search_experiments(max_results=1)
        return _compact(made, file)
    finally:
        _drop(made)


def _compact(made: Path, file: Path) -> Path:
    """Write a database anew, into one file that no connection of MLflow's is open on."""
    whole = _aside(file)
    with closing(sqlite3.connect(made)) as database:
        database.execute("VACUUM INTO ?", (str(whole),))
    with whole.open("rb+") as content:
        os.fsync(content.fileno())
    return whole


def _upgraded(file: Path) -> Path | None:
    """Return a copy of a database with the tables of this MLflow; None if that can't be."""
    copy = _aside(file)
    try:
        with closing(open_database(file)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        # In a process of its own: alembic sets loggers up anew.
        command = [sys.executable, "-m", "mlflow", "db", "upgrade", f"sqlite:///{copy}"]
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
        done = subprocess.run(command, capture_output=True, env=environment, timeout=600)
        if done.returncode or examine(copy).state != "good":
            return None
        return _compact(copy, file)
    except (subprocess.TimeoutExpired, TrackingError):
        return None
    finally:
        _drop(copy)


def _publish(made: Path, file: Path) -> None:
    """Give a new database its name, unless somebody else's has it already."""
    try:
        os.link(made, file)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        if not file.exists():
            made.rename(file)
    finally:
        _drop(made)


def _replace(file: Path, made: Path, word: str) -> Path:
    """Put a database in the place of one that is kept under another name; return that name."""
    number = 1
    while (aside := file.with_name(f"{file.name}.{word}-{number}")).exists():
        number += 1
    for end in COMPANIONS:  # sqlite would take what they hold for the new file's
        with contextlib.suppress(FileNotFoundError):
            file.with_name(file.name + end).rename(aside.with_name(aside.name + end))
    try:
        os.link(file, aside)
    except OSError:  # a file system without hard links
        file.rename(aside)
    made.replace(file)
    return aside


def _drop(made: Path) -> None:
    for end in ("", *COMPANIONS):
        made.with_name(made.name + end).unlink(missing_ok=True)


def moved_from(file: Path) -> set[str]:
    """Return the folders in which a database lay when its experiments were made, if it is in another now."""
    here, found = file.absolute().parent, set()
    with closing(open_database(file)) as database:
        locations = database.execute("SELECT name, artifact_location FROM experiments").fetchall()
    for name, location in locations:
        ending = f"/{ARTIFACTS}/{quote(str(name))}"
        if str(location).startswith("file:///") and str(location).endswith(ending):
            before = Path(unquote(str(location).removeprefix("file://").removesuffix(ending)) or "/")
            if before != here and not _is_same(before / ARTIFACTS, here / ARTIFACTS):
                found.add(str(before))
    return found


def _is_same(one: Path, other: Path) -> bool:
    """Whether two paths lead to one folder, by links or mounts."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def relink(file: Path, folders: set[str]) -> None:
    """Make the addresses of files that lay beside a database in earlier folders lead to where it lies now."""
    new = (file.absolute().parent / ARTIFACTS).as_uri()
    with closing(open_database(file)) as database, database:
        database.execute("BEGIN IMMEDIATE")
        columns = columns_of(database)
        for folder in folders:
            old = (Path(folder) / ARTIFACTS).as_uri()
            there = [(table, name) for table, names in LINKS.items() for name in names]
            for table, name in there:
                if name in columns.get(table, ()):
                    change = f"UPDATE {table} SET {name} = ? || substr({name}, ?)"  # noqa: S608 - names of ours
                    place = (new, len(old) + 1, len(old) + 1, f"{old}/")
                    database.execute(f"{change} WHERE substr({name}, 1, ?) = ?", place)
