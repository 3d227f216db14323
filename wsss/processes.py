"""Ways to start processes that don't run the program's main file a second time.

Python has a new process import the main file of the program that started it, in case functions live there.
A script that calls `wsss.run` outside of `if __name__ == "__main__"` would begin its study again in every
worker. Functions of ours live in modules.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import context
from types import ModuleType


class _FromServer(context.ForkServerProcess):
    def start(self) -> None:
        with _without_main_file():
            super().start()


class _Spawned(context.SpawnProcess):
    def start(self) -> None:
        with _without_main_file():
            super().start()


class FromServer(context.ForkServerContext):
    """Starts processes from a server: they inherit neither threads nor a GPU's context, and start fast."""

    Process = _FromServer


class Spawned(context.SpawnContext):
    """Starts each process from nothing."""

    Process = _Spawned


@contextmanager
def _without_main_file() -> Iterator[None]:
    """Let the process that starts inside know of no main file."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
