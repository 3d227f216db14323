"""A process pool for work on single images, sized by the trial's CPUs."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import numpy as np

from wsss.errors import StageError

Result = TypeVar("Result")

CHUNKSIZE = 1
"""Images that a process fetches at once: more leave others idle at the end (docs/results.md, refinement)."""


class ImagePool:
    """Maps a function over images with `workers` processes; with one, in this process.

    Processes come from a fork server, so that they inherit neither threads nor GPU contexts; the
    functions they run should live in modules that don't import torch.
    """

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
            context = multiprocessing.get_context("forkserver")
            self._pool = ProcessPoolExecutor(self.workers, mp_context=context)
        order = sorted(range(len(tasks)), key=lambda index: array_bytes(tasks[index]), reverse=True)
        columns = zip(*(tasks[index] for index in order), strict=True)
        try:
            results = dict(zip(order, self._pool.map(function, *columns, chunksize=CHUNKSIZE), strict=True))
        except BrokenProcessPool as error:
            self._pool = None
            raise StageError("a worker process died, most likely for want of memory") from error
        return [results[index] for index in range(len(tasks))]

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def array_bytes(task: tuple[Any, ...]) -> int:
    """Return the bytes of a task's arrays."""
    return sum(part.nbytes for part in task if isinstance(part, np.ndarray))
