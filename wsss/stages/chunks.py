"""What stages that treat image after image have in common: a step is a chunk of images."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from wsss.data.pool import ImagePool, array_bytes
from wsss.files import read_json, write_json
from wsss.masks.crf import crf_memory
from wsss.models.computing.memory import FREE_SHARE, free_memory
from wsss.stages.contract import Context, Stage

PER_WORKER = 16
"""Images of a chunk for each process of a pool: larger ones don't keep processes busier, smaller ones keep
them less busy (docs/benchmarks.md, refinement)."""
CHUNK = "chunk.json"
MOST_WAITING = 2**29
"""Bytes of arrays that wait for a pool at once, or those of one photo."""
PER_PROCESS = 1.25 * 2**30
"""Bytes that each process of a pool may take while all work: where photos take more, fewer work at once."""
Result = TypeVar("Result")


def crf_need(photo: npt.NDArray[np.uint8], maps: npt.NDArray[Any], *more: Any) -> float:
    """Return the bytes that a dense CRF over maps [n, H, W] and the background takes."""
    return float(crf_memory(len(maps) + 1) * photo.shape[0] * photo.shape[1])


class ListedStage(Stage):
    """A stage whose every step treats one of its `chunks` of images, and whose files stay in `work`."""

    chunks: Sequence[Any]
    """In each the ids of its images, and what else a step needs."""
    done = 0

    @property
    def steps(self) -> int:
        return len(self.chunks)

    def load(self, folder: Path, done: int) -> None:
        self.done = done


class ChunkedStage(Stage):
    """One step treats a chunk of `ids` in a pool of the trial's CPUs; its files stay in `work`.

    A chunk's size is part of the saved state: the process that resumes may have fewer CPUs or more.
    """

    def __init__(self, context: Context, ids: Sequence[str]) -> None:
        super().__init__(context)
        self.ids = list(ids)
        self.images = PER_WORKER * context.threads
        self.done = 0
        self.pool = ImagePool(context.threads)

    @property
    def steps(self) -> int:
        return -(-len(self.ids) // self.images)

    def chunk(self) -> list[str]:
        """Return the ids of the next step."""
        return self.ids[self.done * self.images : (self.done + 1) * self.images]

    def refine(
        self, function: Callable[..., Result], tasks: Iterable[tuple[Any, ...]], need: Callable[..., float]
    ) -> list[Result]:
        """Return `function(*task)` of every task, in order, by the pool.

        Arrays that wait for the pool take at most `MOST_WAITING` bytes, or one task's; where processes would
        take too much memory, fewer work at once. On a GPU the pool works while the network makes the next
        tasks; on a CPU, which each takes whole, one after the other.

        Args:
            function: lives in a module, so that processes can import it.
            tasks: its arguments.
            need: returns the bytes that it takes for a task's arguments.
        """
        if torch.device(self.context.device).type == "cuda":
            return self._meanwhile(function, tasks, need)
        results: list[Result] = []
        waiting: list[tuple[Any, ...]] = []
        held = 0
        for task in tasks:
            size = array_bytes(task)
            if waiting and held + size > MOST_WAITING:
                results += self._together(function, waiting, need)
                waiting, held = [], 0
            waiting.append(task)
            held += size
        return results + (self._together(function, waiting, need) if waiting else [])

    def _meanwhile(
        self, function: Callable[..., Result], tasks: Iterable[tuple[Any, ...]], need: Callable[..., float]
    ) -> list[Result]:
        results: list[Result] = []
        begun: deque[tuple[Callable[[], Result], float, int]] = deque()
        most = self._most_memory()
        for task in tasks:
            needed, size = need(*task), array_bytes(task)
            while begun and (
                sum(one for _, one, _ in begun) + needed > most
                or sum(one for _, _, one in begun) + size > MOST_WAITING
            ):
                results.append(begun.popleft()[0]())
            begun.append((self.pool.start(function, task), needed, size))
        return results + [wait() for wait, _, _ in begun]

    def _most_memory(self) -> float:
        """Return the bytes that all processes of the pool may take."""
        return min(self.context.threads * PER_PROCESS, FREE_SHARE * free_memory(torch.device("cpu")))

    def _together(
        self, function: Callable[..., Result], tasks: list[tuple[Any, ...]], need: Callable[..., float]
    ) -> list[Result]:
        workers = self.context.threads
        at_once = max(1, int(self._most_memory() // max(need(*task) for task in tasks)))
        if at_once >= workers:
            return self.pool.map(function, tasks)
        return [
            result
            for start in range(0, len(tasks), at_once)
            for result in self.pool.map(function, tasks[start : start + at_once])
        ]

    def save(self, folder: Path) -> None:
        write_json(folder / CHUNK, {"images": self.images})

    def load(self, folder: Path, done: int) -> None:
        self.images = int(read_json(folder / CHUNK)["images"])
        self.done = done

    def close(self) -> None:
        self.pool.close()
