"""A foreign program while it runs: its lines, its progress, its end. It never outlives its runner."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsss.addresses import scrub
from wsss.errors import Problem, StageError, shortened
from wsss.stages.kinds.programs.command import MOST_STEPS
from wsss.stages.programs.log import Log

WATCHER = Path(__file__).with_name("watcher.py")
GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL."""
LONGEST_LINE = 4096
"""Bytes of a line that are looked at."""
LAST_LINES, LAST_CHARACTERS = 20, 2000
"""Of what a program wrote, in an error."""
MOST_METRICS = 20
Metrics = dict[str, float]


class Program:
    """A program in a process group of its own, behind a watcher that ends it when this process ends.

    Args:
        words: its name and arguments; no shell reads them.
        folder: where it works.
        environment: all of its environment variables.
        log: takes everything it writes.
        pattern: what a line of progress looks like; its named groups are metrics, but for `step`.
        timeout: seconds that it may run.
        grace: seconds that it has to end by itself when it is stopped.
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        log: Log,
        pattern: re.Pattern[str] | None = None,
        timeout: float,
        grace: float = GRACE,
    ) -> None:
        self.words = list(words)
        self.reached = 0
        """The last step that the program reported."""
        self.steps: dict[int, Metrics] = {}
        self.status: dict[str, Any] = {}
        """What the watcher said at the end: `code`, `signal`, `error` or `stopped`."""
        self._log = log
        self._pattern = pattern
        self._timeout, self._grace = timeout, grace
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._line = b""
        self._news = threading.Condition()
        self._began = time.monotonic()
        self._process = 0
        out, into = os.pipe()
        self._status, status = os.pipe()
        task = {
            "words": self.words,
            "folder": str(folder),
            "environment": dict(environment),
            "grace": grace,
            "status": status,
        }
        try:
            self._watcher = subprocess.Popen(
                [sys.executable, "-I", "-S", str(WATCHER)],
                stdin=subprocess.PIPE,
                stdout=into,
                stderr=subprocess.STDOUT,
                pass_fds=(status,),
                env={},
                start_new_session=True,
            )
        finally:
            os.close(into)
            os.close(status)
        assert self._watcher.stdin is not None
        self._lifeline = self._watcher.stdin
        with contextlib.suppress(BrokenPipeError):
            self._lifeline.write(json.dumps(task).encode() + b"\n")
            self._lifeline.flush()
        self._reader = threading.Thread(target=self._read, args=(out,), name="program", daemon=True)
        self._reader.start()

    @property
    def seconds(self) -> float:
        """How long it has run."""
        return time.monotonic() - self._began

    @property
    def said(self) -> str:
        """The last line that it wrote, in printable characters."""
        with self._news:
            return self._lines[-1] if self._lines else ""

    def wait(self, seconds: float, step: int) -> bool:
        """Wait until the program has ended (return True), has reported a step from `step` on, or for
        `seconds`.

        Raises `StageError` when it did not end well, or runs for longer than it may.
        """
        deadline = min(time.monotonic() + seconds, self._began + self._timeout)
        with self._news:
            while self._watcher.poll() is None and self.reached < step:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._news.wait(min(left, 0.1))
        if self._watcher.poll() is not None:
            self._settle()
            return True
        if self.seconds > self._timeout:
            self.stop()
            raise self.error(f"ran for longer than `timeout`, {self._timeout:g} s, and was stopped")
        return False

    def _settle(self) -> None:
        """Check how the program ended. Raises `StageError` unless it succeeded."""
        self._reader.join(timeout=2)
        self._read_status()
        if self.status.get("code") == 0:
            return
        if "error" in self.status:
            raise self.error(f"can't be started: {self.status['error']}")
        if "signal" in self.status:
            number = int(self.status["signal"])
            name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
            more = ", perhaps for want of memory" if number == signal.SIGKILL else ""
            raise self.error(f"was ended by {name}{more}")
        if "code" in self.status:
            raise self.error(f"ended with code {self.status['code']}")
        self._end_group()
        raise self.error("ended, as its watcher did")

    def error(self, message: str) -> StageError:
        """Return what went wrong, with the program's last lines."""
        with self._news:
            lines = [*self._lines]
        text = "\n".join(lines)[-LAST_CHARACTERS:]
        said = f"; its last lines:\n{text}\n" if text else "; it wrote nothing"
        named = shortened(" ".join(self.words[:4]), 160)
        return StageError(Problem(named, message + said, f"its whole output: {self._log.path}"))

    def stop(self) -> None:
        """End the program and all that it has started, at once or after `grace` seconds; return when all
        have ended."""
        with contextlib.suppress(OSError):
            self._lifeline.close()
        try:
            self._watcher.wait(timeout=self._grace + 10)
        except subprocess.TimeoutExpired:
            self._watcher.kill()
            self._watcher.wait()
            self._end_group()
        self._reader.join(timeout=2)
        self._read_status()

    def _end_group(self) -> None:
        """End the program's group from here, as its watcher was killed."""
        if self._process:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process, signal.SIGKILL)

    def _read_status(self) -> None:
        if self._status < 0:
            return
        with open(self._status, "rb") as file:
            self._status = -1
            for line in file.read(65_536).splitlines():
                with contextlib.suppress(ValueError):
                    self.status |= json.loads(line)
        self._process = int(self.status.get("process", 0))
        with contextlib.suppress(OSError):
            self._lifeline.close()

    def _read(self, out: int) -> None:
        """Read the program's output until its end, in a thread of its own."""
        try:
            while content := os.read(out, 65_536):
                self._log.write(content)
                self._take(content)
        except OSError:
            pass  # the disk is full: the stage's own next write reports it
        finally:
            # Discard the rest: a program must not wait for a reader that is gone.
            with contextlib.suppress(OSError):
                while os.read(out, 65_536):
                    pass
            os.close(out)
            self._take(b"\n")
            self._log.close()

    def _take(self, content: bytes) -> None:
        *lines, rest = re.split(rb"[\r\n]", self._line + content)
        while len(rest) > LONGEST_LINE:
            lines.append(rest[:LONGEST_LINE])
            rest = rest[LONGEST_LINE:]
        self._line = rest
        with self._news:
            for line in lines:
                text = line[:LONGEST_LINE].decode(errors="replace").rstrip()
                if text:
                    self._lines.append(shortened(scrub(text), 400))
                    self._progress(text)
            self._news.notify_all()

    def _progress(self, line: str) -> None:
        found = self._pattern.search(line) if self._pattern else None
        if found is None:
            return
        groups = found.groupdict()
        number = _number(groups.pop("step", None))
        step = self.reached + 1 if number is None else int(min(max(number, 0), MOST_STEPS))
        values = {name: _number(text) for name, text in list(groups.items())[:MOST_METRICS]}
        if step <= MOST_STEPS:  # what a stage has at most: a program may print such lines without end
            self.steps[step] = {name: value for name, value in values.items() if value is not None}
        self.reached = max(self.reached, step)


def _number(text: str | None) -> float | None:
    """Return a number that a program wrote; None for a word, and for a loss that is "nan"."""
    try:
        number = math.nan if text is None else float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
