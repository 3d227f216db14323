"""What an sqlite file is to MLflow: missing, good, older or newer than this MLflow, or broken."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from wsss.errors import Problem, TrackingError

State = Literal["missing", "good", "older", "newer", "broken"]
BUSY = 30.0
"""Seconds to wait for another process that writes to a database."""
HEADER = b"SQLite format 3\0"
CORE = {"experiments", "runs", "metrics", "params", "tags"}
"""Tables that every MLflow has."""


@dataclass(frozen=True)
class Found:
    """What a file is, why it is no good, and the version of its tables."""

    state: State
    reason: str = ""
    revision: str = ""


def examine(file: Path) -> Found:
    """Return what a file is. Raises `TrackingError` for a database of another program, and
    `sqlite3.OperationalError` when it is busy or can't be opened."""
    if file.is_dir():
        raise TrackingError(Problem(str(file), "is a folder, but must be MLflow's database"))
    if not file.exists():
        return Found("missing")
    if not file.is_file():  # to read a pipe may take for ever
        raise TrackingError(Problem(str(file), "is no file, but must be MLflow's database", "move it away"))
    if not file.stat().st_size:
        return Found("broken", "it is empty")
    with file.open("rb") as content:
        if content.read(len(HEADER)) != HEADER:  # sqlite would tidy up what lies beside it
            return Found("broken", "it is no sqlite file")
    try:
        with closing(open_database(file)) as database:
            return _examine(file, database)
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            return Found("broken", str(error))
        raise


def open_database(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(file))}?mode=rw", uri=True, timeout=BUSY)


def is_damage(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _examine(file: Path, database: sqlite3.Connection) -> Found:
    import mlflow.store.db.utils  # noqa: F401 - registers every table
    from mlflow.store.db.base_sql_model import Base

    (whole,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if whole != "ok":
        return Found("broken", str(whole).replace("\n", " ")[:100])
    columns = columns_of(database)
    wanted = {name: set(table.columns.keys()) for name, table in Base.metadata.tables.items()}
    own = {name for name in columns if not name.startswith(("alembic_", "_alembic_", "sqlite_"))}
    if own and not own & wanted.keys():
        message = f"is a database of another program (with {', '.join(sorted(own)[:3])})"
        raise TrackingError(Problem(str(file), message, "give `tracking.uri` another file"))
    revisions = []
    if "alembic_version" in columns:
        revisions = [str(row[0]) for row in database.execute("SELECT version_num FROM alembic_version")]
    lacking = _lacking(wanted, columns)
    if len(revisions) != 1:
        return Found("broken", "its tables were never finished")
    (revision,) = revisions
    head, known = _revisions()
    if revision == head:
        return Found("broken", f"it lacks {lacking}", revision) if lacking else Found("good", "", revision)
    if revision in known:
        return Found("older", "", revision)
    if re.fullmatch(r"[0-9a-f]{12}", revision) and columns.keys() >= CORE:
        return Found("newer", "", revision)
    return Found("broken", f"its tables are of an unknown version {revision[:20]!r}", revision)


def columns_of(database: sqlite3.Connection) -> dict[str, set[str]]:
    names = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {
        name: {row[1] for row in database.execute("SELECT * FROM pragma_table_xinfo(?)", (name,))}
        for name in names
    }


def _lacking(wanted: dict[str, set[str]], columns: dict[str, set[str]]) -> str:
    """Name the first table or column that is missing; empty when none is."""
    for table, names in sorted(wanted.items()):
        if table not in columns:
            return f"the table {table}"
        for name in sorted(names - columns[table]):
            return f"the column {table}.{name}"
    return ""


def _revisions() -> tuple[str, set[str]]:
    """Return this MLflow's version of the tables, and all versions that it can upgrade."""
    import mlflow.store
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(mlflow.store.__path__[0]) / "db_migrations"))
    scripts = ScriptDirectory.from_config(config)
    return str(scripts.get_current_head()), {script.revision for script in scripts.walk_revisions()}
