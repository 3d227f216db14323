"""Work on many images in several processes. All processes come from a fork server: they inherit neither
threads nor GPU contexts, so the functions they run should live in modules that don't import torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from wsss.errors import StageError
from wsss.processes import FromServer

Progress = Callable[[int, int], None]
Task = TypeVar("Task")
Result = TypeVar("Result")

WORTH_A_POOL = 300
"""Fewer files than this are read faster than processes start."""
CHUNKSIZE = 1
"""Images that a process fetches at once: more leave others idle at the end (docs/benchmarks.md)."""


class ImagePool:
    """Maps a function over images with `workers` processes, one for each CPU of a trial; with one, in this
    process."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def map(self, function: Callable[..., Result], tasks: Sequence[tuple[Any, ...]]) -> list[Result]:
        """Return `function(*task)` for every task, in order.

        Tasks with the largest arrays start first, so that processes end together. Raises `StageError` if
        a process dies.
        """
        if self.workers == 1:
            return [function(*task) for task in tasks]
        if self._pool is None:
            self._pool = _processes(self.workers)
        order = sorted(range(len(tasks)), key=lambda index: array_bytes(tasks[index]), reverse=True)
        columns = zip(*(tasks[index] for index in order), strict=True)
        try:
            with _alive():
                found = self._pool.map(function, *columns, chunksize=CHUNKSIZE)
                results = dict(zip(order, found, strict=True))
        except StageError:
            self._pool = None
            raise
        return [results[index] for index in range(len(tasks))]

    def start(self, function: Callable[..., Result], task: tuple[Any, ...]) -> Callable[[], Result]:
        """Begin `function(*task)`; return what waits for its result. With one worker it happens now.

        Both raise `StageError` if a process dies.
        """
        if self.workers == 1:
            result = function(*task)
            return lambda: result
        if self._pool is None:
            self._pool = _processes(self.workers)
        with _alive():
            begun = self._pool.submit(function, *task)

        def wait() -> Result:
            with _alive():
                return begun.result()

        return wait

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def map_files(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    workers: int,
    progress: Progress | None = None,
) -> Iterator[Result]:
    """Yield `function(task)` of every task, in order, with processes when that pays.

    Args:
        function: lives in a module.
        tasks: one a file.
        workers: processes; few files are looked at in this one.
        progress: called with (done, total) after each task.

    Raises `StageError` if a process dies.
    """
    total = len(tasks)
    if progress:
        progress(0, total)
    pool = None if workers <= 1 or total < WORTH_A_POOL else _processes(workers)
    try:
        with _alive():
            results = map(function, tasks) if pool is None else pool.map(function, tasks, chunksize=16)
            for done, result in enumerate(results, 1):
                yield result
                if progress:
                    progress(done, total)
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def array_bytes(task: tuple[Any, ...]) -> int:
    """Return the bytes of a task's arrays."""
    return sum(part.nbytes for part in task if isinstance(part, np.ndarray))


def _processes(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=FromServer())


@contextmanager
def _alive() -> Iterator[None]:
    """Raise `StageError` when a process of a pool dies."""
    try:
        yield
    except BrokenProcessPool as error:
        raise StageError("a worker process died, most likely for want of memory") from error
