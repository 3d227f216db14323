"""Whether a study may start programs of others: asked for at each call, or once on a machine."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from wsss.launch.words import note

if TYPE_CHECKING:
    from wsss.config import Study
    from wsss.config.checks.programs import StudyProgram

LINE = "allow-commands: true"
MOST_SHOWN = 20


def permission_file() -> Path:
    """Return the file that says that all studies may start programs on this machine, for this user."""
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home and os.path.isabs(home) else Path.home() / ".config") / "wsss" / "commands"


def check_permission(study: Study, allowed: bool, always: bool = False) -> None:
    """Raise `PreflightError` with every program that a study would start, unless that is allowed.

    `always` writes that down for this machine and user.
    """
    if always:
        _remember()
    programs = _programs(study)
    if not programs or allowed or always:
        return
    from wsss.errors import PreflightError, Problem

    path = permission_file()
    refused = _why_not(path)
    if not refused:
        return
    listed = [Problem("", str(program)) for program in programs[:MOST_SHOWN]]
    several = f"these {len(programs)} programs" if len(programs) > 1 else "this program"
    out = "nothing was started: --allow-commands lets it, --always-allow-commands all studies from now on"
    told = [Problem("", out)] if refused == "missing" else [Problem(str(path), refused), Problem("", out)]
    title = f"{study.name} would start {several}, which can do all that you can"
    raise PreflightError([*listed, *told], title=title, more=max(0, len(programs) - MOST_SHOWN))


def _programs(study: Study) -> list[StudyProgram]:
    """Return the programs of a study and of those that it is based on, whose artefacts may be made again."""
    from wsss.config.checks.programs import study_programs

    found = study_programs(study)
    seen = {study.name}
    while study.base is not None and study.base.study not in seen:
        from wsss.errors import WsssError
        from wsss.pipeline.past.stored_studies import find_study

        seen.add(study.base.study)
        if isinstance(study.storage, Path) and not study.storage.is_dir():
            break
        try:
            study = find_study(study.base.study, study.storage)
        except WsssError:  # it is looked for again, and told of, where it is used
            break
        found += study_programs(study)
    return found


def _why_not(path: Path) -> str:
    """Return why a file doesn't allow it: "missing", a reason, or nothing if it does."""
    try:
        facts = path.lstat()
    except OSError:
        return "missing"
    if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o022:
        return "counts for nothing: it must be a file of yours that nobody else can write"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return "can't be read"
    return "" if any(line.strip() == LINE for line in lines[:100]) else f"doesn't say `{LINE}`"


def _remember() -> None:
    from wsss.errors import PreflightError, Problem

    path = permission_file()
    if not _why_not(path):
        return
    date = datetime.now(UTC).date().isoformat()
    content = (
        f"# Studies may start the programs that their `command` stages name. Written on {date}.\n{LINE}\n"
    )
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(content)
        aside.replace(path)
    except OSError as error:
        message = f"can't be written: {error.strerror}"
        raise PreflightError(Problem(str(path), message, "--allow-commands is for one call")) from error
    note(f"{path} now allows it; delete it to take that back")
