"""Looking at many files, with a few processes when that pays."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from wsss.errors import StageError

Progress = Callable[[int, int], None]
Task = TypeVar("Task")
Result = TypeVar("Result")

WORTH_A_POOL = 300
"""Fewer files than this are read faster than processes start."""


def map_files(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    workers: int,
    progress: Progress | None = None,
) -> Iterator[Result]:
    """Yield `function(task)` of every task, in order; call `progress(done, total)` after each.

    Processes come from a fork server, so that they inherit no threads. Raises `StageError` if a process dies.

    Args:
        function: lives in a module, which should not import torch.
        tasks: its arguments.
        workers: processes; 1 for this one alone, which also does fewer tasks than pay.
        progress: gets (tasks done, all tasks).
    """
    total = len(tasks)
    if progress:
        progress(0, total)
    if workers <= 1 or total < WORTH_A_POOL:
        for done, task in enumerate(tasks, 1):
            yield function(task)
            if progress:
                progress(done, total)
        return
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("forkserver"))
    try:
        for done, result in enumerate(pool.map(function, tasks, chunksize=16), 1):
            yield result
            if progress:
                progress(done, total)
    except BrokenProcessPool as error:
        raise StageError("a process that reads images died, most likely for want of memory") from error
    finally:
        pool.shutdown(cancel_futures=True)
