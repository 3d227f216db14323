"""Notices that a Ray cluster's head is gone.

Ray itself waits for a minute, prints stack traces and ends the process that runs the study.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from types import TracebackType

import ray

from wsss.errors import PreflightError, Problem
from wsss.store.lease import release_all

LOOK_SECONDS = 2.0
PATIENCE = 15.0
"""Seconds without an answer after which the head counts as gone; a busy head takes a few to answer."""
GRACE = 5.0
"""Seconds that the main thread has to react."""


class HeadWatch:
    """While inside, connects to the head again and again; interrupts the main thread when it is gone.

    `study` is named in the error that `explain` raises.
    """

    def __init__(self, study: str, *, patience: float = PATIENCE) -> None:
        self.study = study
        self.patience = patience
        self.lost = False
        self.address = str(ray.get_runtime_context().gcs_address)
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="head", daemon=True)

    def __enter__(self) -> HeadWatch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        self._thread.join(timeout=5)

    def explain(self) -> PreflightError:
        """Return the error that the user sees."""
        message = f"the head of the Ray cluster has not answered for {self.patience:.0f} s"
        hint = (
            f"everything finished is kept; `resume {self.study}` goes on, on any cluster or with --local, "
            "and so does the same `cluster submit` again"
        )
        return PreflightError(Problem(self.address, message, hint))

    def _watch(self) -> None:
        heard = time.monotonic()
        while not self._left.wait(LOOK_SECONDS):
            if self._answers():
                heard = time.monotonic()
            elif time.monotonic() - heard >= self.patience:
                self.lost = True
                os.kill(os.getpid(), signal.SIGINT)  # ends what the main thread waits for
                if not self._left.wait(GRACE):
                    self._end_process()
                return

    def _end_process(self) -> None:
        """End the process, as Ray would after a minute: its main thread waits for the head and does not
        react."""
        error = self.explain()
        shown = "\x1b[?25h" if sys.stderr.isatty() else ""  # the live table hides the cursor
        sys.stdout.flush()
        sys.stderr.write(f"{shown}error: {error}\n")
        sys.stderr.flush()
        release_all(GRACE)  # the study's lease: nothing else runs after this
        os._exit(error.exit_code)

    def _answers(self) -> bool:
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=self.patience / 2).close()
        except OSError:
            return False
        return True
