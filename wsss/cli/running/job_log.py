"""What a Ray job prints, kept with its study: the cluster's own copy goes with the cluster.

<storage>/studies/<name>/logs/<job>.log
"""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from wsss.pipeline.running import this_job

if TYPE_CHECKING:
    from wsss.config import Study

LOGS = "logs"


def keep_job_log(study: Study) -> None:
    """Copy all that this process prints from now on to the study's logs, if it is a Ray job.

    A folder storage has the copy at once, an object storage when the process ends.
    """
    job = this_job()
    if not job:
        return
    from wsss.config.text.location import is_remote
    from wsss.store.storage import open_storage

    storage = open_storage(study.storage)
    name = f"{job}.log"
    if is_remote(study.storage):
        file = Path(tempfile.mkdtemp(prefix="wsss-log-")) / name
    else:
        file = storage.study_folder(study.name) / LOGS / name
        file.parent.mkdir(parents=True, exist_ok=True)
    copying = copy_output(file)

    def finish() -> None:
        close_output(copying)
        if is_remote(study.storage):
            with contextlib.suppress(Exception):  # the run itself has ended by now
                storage.write_note(
                    study.name, f"{LOGS}/{name}", file.read_text(encoding="utf-8", errors="replace")
                )

    atexit.register(finish)


def copy_output(file: Path) -> subprocess.Popen[bytes]:
    """Send standard output and standard error to a file, too, through `tee`, which outlives a signal to this
    process's group."""
    copying = subprocess.Popen(["tee", "-a", str(file)], stdin=subprocess.PIPE, start_new_session=True)  # noqa: S607
    assert copying.stdin is not None
    for number in (1, 2):
        os.dup2(copying.stdin.fileno(), number)
    copying.stdin.close()
    return copying


def close_output(copying: subprocess.Popen[bytes], patience: float = 5) -> None:
    """Wait until all that was printed is in the file."""
    sys.stdout.flush()
    sys.stderr.flush()
    nothing = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(nothing, number)
    with contextlib.suppress(subprocess.TimeoutExpired):  # a process of ours may still hold it open
        copying.wait(patience)
