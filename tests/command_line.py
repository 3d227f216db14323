"""The command line inside the test's own process: what it prints and how it exits, without a new Python.

Scores draw one image instead of six: pictures would be half of the work of a small study.
`stages/scoring/test_pictures.py` looks at whole ones.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from pathlib import Path
from unittest import mock

from wsss.cli import main


def in_process(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `launch.py` with these words."""
    out, err = io.StringIO(), io.StringIO()
    argv = ["launch.py", *map(str, words)]
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        stack.enter_context(mock.patch.object(sys, "argv", argv))
        if words[0] in ("run", "resume"):
            stack.enter_context(mock.patch("wsss.stages.scoring.scores.PICTURES", 1))
        if cwd is not None:
            stack.enter_context(contextlib.chdir(cwd))
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess(argv, code, out.getvalue(), err.getvalue())
