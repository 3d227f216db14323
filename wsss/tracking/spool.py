"""A queue on disk between a study and its tracking server: nothing lost, nothing sent out of order.

`operations.jsonl` grows, one JSON object a line; `position` holds how many bytes of it have been
carried out. A line that a crash cut short is dropped when the file is opened again; one that can't be
read (a disk lost it) is passed over.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import threading
import time
from pathlib import Path
from typing import Any

from wsss.files import write_atomic

Operation = dict[str, Any]


class Spool:
    """The queue of one study. One process writes and replays it; both ends may be in other threads."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "operations.jsonl"
        self._position_path = folder / "position"
        self._condition = threading.Condition()
        self._drop_broken_line()
        # Both stay open: a storage that is moved takes the file along.
        self._file = self._path.open("ab")
        self._reader = self._path.open("rb")
        self._position = self._stored_position()
        self._drop_what_is_done()
        self._inherited_until = self._size = os.fstat(self._reader.fileno()).st_size

    def _drop_broken_line(self) -> None:
        content = self._path.read_bytes() if self._path.exists() else b""
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with self._path.open("rb+") as file:
                file.truncate(whole)

    def _stored_position(self) -> int:
        try:
            position = int(self._position_path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return 0
        return min(position, os.fstat(self._reader.fileno()).st_size)

    def _drop_what_is_done(self) -> None:
        """Begin anew once everything has been carried out: a study that is run often would fill the disk."""
        if self._position and not self.pending:
            self._path.write_bytes(b"")
            self._position = 0
            with contextlib.suppress(OSError):
                write_atomic(self._position_path, "0")

    @property
    def inherited(self) -> bool:
        """Whether there is something left that an earlier process wrote down."""
        return self._position < self._inherited_until

    def put(self, operation: Operation) -> None:
        """Append an operation and wake the reader."""
        line = json.dumps(operation, sort_keys=True).encode() + b"\n"
        with self._condition:
            self._file.write(line)
            self._file.flush()
            self._condition.notify_all()

    def next(self, timeout: float) -> Operation | None:
        """Return the oldest operation not yet done, waiting up to `timeout` seconds for one."""
        with self._condition:
            operation = self._read()
            if operation is None:
                self._condition.wait(timeout)
                operation = self._read()
            return operation

    def _read(self) -> Operation | None:
        while not self._reader.closed and self.pending:
            self._reader.seek(self._position)
            line = self._reader.readline()
            if not line.endswith(b"\n"):
                return None  # the disk is full, and the rest of the line still to be written
            try:
                return {**json.loads(line), "_bytes": len(line)}
            except (ValueError, TypeError):
                self._position += len(line)
                self._condition.notify_all()
        return None

    def done(self, operation: Operation) -> None:
        """Note that an operation returned by `next` has been carried out."""
        with self._condition:
            self._position += operation["_bytes"]
            with contextlib.suppress(OSError):  # a full disk; what is then carried out twice counts once
                write_atomic(self._position_path, str(self._position))
            self._condition.notify_all()

    @property
    def pending(self) -> int:
        """Bytes of operations not yet carried out."""
        if not self._reader.closed:
            self._size = os.fstat(self._reader.fileno()).st_size
        return self._size - self._position

    def wait_until_empty(self, seconds: float, quiet: float = math.inf) -> bool:
        """Wait until everything has been carried out; return whether it has.

        Gives up after `seconds`, or once nothing has been carried out for `quiet` seconds.
        """
        began = since = time.monotonic()
        with self._condition:
            position = self._position
            while self.pending:
                now = time.monotonic()
                if self._position != position:
                    position, since = self._position, now
                left = min(began + seconds, since + quiet) - now
                if left <= 0:
                    return False
                self._condition.wait(left)
        return True

    def wake(self) -> None:
        """Wake a reader that waits in `next`."""
        with self._condition:
            self._condition.notify_all()

    def close(self) -> None:
        with self._condition:
            self._file.close()
            self._size = os.fstat(self._reader.fileno()).st_size
            self._reader.close()
