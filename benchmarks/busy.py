"""How much of the time a GPU is busy, as its driver counts it."""

from __future__ import annotations

import subprocess
import threading
from types import TracebackType
from typing import Self

EVERY = 200
"""Milliseconds between two looks."""
COMMAND = (
    "nvidia-smi", "--id=0", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits",
    f"--loop-ms={EVERY}",
)  # fmt: skip


class GpuBusy:
    """Looks, inside a `with` block, at how busy the first GPU is."""

    def __init__(self) -> None:
        self._shares: list[float] = []
        self._driver: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    @property
    def share(self) -> float | None:
        """The mean share of the time in which something ran on it, in [0, 1]; None if nobody can tell."""
        return sum(self._shares) / len(self._shares) if self._shares else None

    def __enter__(self) -> Self:
        try:
            self._driver = subprocess.Popen(
                COMMAND, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8"
            )
        except OSError:  # no driver here
            return self
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def _read(self) -> None:
        assert self._driver is not None
        assert self._driver.stdout is not None
        for line in self._driver.stdout:
            if line.strip().isdigit():  # "[N/A]" on cards that don't count it
                self._shares.append(int(line) / 100)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._driver is not None and self._reader is not None:
            self._driver.terminate()
            self._driver.wait()
            self._reader.join()
