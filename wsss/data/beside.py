"""Threads beside a GPU: they read what its network is shown next and write what it has answered."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

import torch

AHEAD = 2
"""Items for each thread that are ready before they are asked for."""
Item = TypeVar("Item")
Result = TypeVar("Result")


class Beside:
    """Threads that decode photos and write files, neither of which holds Python's lock for long.

    Used in a `with` block, whose end waits until all is written.

    Where the network is on a CPU there are none, as it takes all of them itself: reading and writing then
    happen when they are asked for.

    Args:
        device: where the network is.
        threads: CPUs of the trial, one of which keeps the GPU busy.
    """

    def __init__(self, device: torch.device | str, threads: int) -> None:
        self.threads = max(1, threads - 1) if torch.device(device).type == "cuda" else 0
        self._pool = ThreadPoolExecutor(self.threads, "beside") if self.threads else None
        self._written: list[Future[Any]] = []

    def read(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield `function(item)` of every item, in order, some ahead of time."""
        if self._pool is None:
            yield from map(function, items)
            return
        ready: deque[Future[Result]] = deque()
        for item in items:
            ready.append(self._pool.submit(function, item))
            if len(ready) > AHEAD * self.threads:
                yield ready.popleft().result()
        while ready:
            yield ready.popleft().result()

    def write(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call a function some time before the block ends."""
        if self._pool is None:
            function(*arguments)
        else:
            self._written.append(self._pool.submit(function, *arguments))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=error is not None)
        for written in self._written if error is None else ():
            written.result()
