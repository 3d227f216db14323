"""Processes of one machine that train one network together (torch's process groups, NCCL or gloo).

The stage stays in its own process: it sends the workers their calls and waits. When a worker dies the stage
notices at once and ends the others; workers whose stage dies end themselves.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
import traceback
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from wsss.errors import StageError, WsssError
from wsss.processes import Spawned
from wsss.stages.out_of_memory import is_out_of_memory

Make = Callable[[int, int], Any]
"""Makes the object of (rank, workers), in its process; it can be sent to one."""
PATIENCE = timedelta(minutes=30)
"""How long a worker waits for the others: the slowest may be examining a hold-out."""
FOLLOW_SECONDS = 3.0
"""How long to wait for the errors of the others after a first one, which may be a consequence."""
INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


class WorkerGroup:
    """Processes that work together, each with an object of its own.

    Args:
        make: makes the object of (rank, workers).
        workers: how many processes.
        threads: of torch, in each.
        gpus: whether each has a GPU.
    """

    def __init__(self, make: Make, workers: int, *, threads: int, gpus: bool) -> None:
        # Spawned, not forked: they inherit neither threads nor a GPU's context.
        context = Spawned()
        self._folder = tempfile.TemporaryDirectory(prefix="wsss-workers-")
        meeting = str(Path(self._folder.name) / "meeting")
        self._pipes: list[Connection] = []
        self._processes: list[BaseProcess] = []
        self._end = weakref.finalize(self, _end, self._processes, self._folder)
        for rank in range(workers):
            ours, theirs = context.Pipe()
            own = _Worker(rank, workers, meeting, threads, gpus)
            process = context.Process(target=_serve, args=(theirs, make, own), name=f"worker-{rank}")
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)
        self._answers()

    def call(self, method: str, *arguments: Any) -> list[Any]:
        """Call a method of every worker's object and return what they return, by rank.

        Raises what the first of them raises (`StageError` with a traceback for what isn't ours), and
        `StageError` when one dies.
        """
        for pipe in self._pipes:
            try:
                pipe.send((method, arguments))
            except OSError:
                break  # it died: `_answers` says which
        return self._answers()

    def call_first(self, method: str, *arguments: Any) -> Any:
        """Call a method of the first worker's object only."""
        self._pipes[0].send((method, arguments))
        return self._answers(self._pipes[:1])[0]

    def _answers(self, pipes: Sequence[Connection] | None = None) -> list[Any]:
        waiting = list(self._pipes if pipes is None else pipes)
        answers: dict[int, Any] = {}
        errors: list[Exception] = []
        while waiting:
            ready = wait(waiting, FOLLOW_SECONDS if errors else None)
            if not ready:
                break
            for pipe in ready:
                assert isinstance(pipe, Connection)
                waiting.remove(pipe)
                rank = self._pipes.index(pipe)
                try:
                    error, answers[rank] = pipe.recv()
                except (EOFError, OSError):
                    error = self._death(rank)
                if error is not None:
                    errors.append(error)
        if errors:
            self.close()
            raise min(errors, key=_distance_from_cause)
        return [answers[rank] for rank in sorted(answers)]

    def _death(self, rank: int) -> _WorkerDied:
        process = self._processes[rank]
        process.join(FOLLOW_SECONDS)  # its pipe is closed a moment before its exit code is known
        return _WorkerDied(
            f"worker {rank} of {len(self._processes)} died (exit code {process.exitcode}), most likely for "
            "want of memory"
        )

    def close(self) -> None:
        """End the processes."""
        self._end()


class _WorkerDied(StageError):
    """A worker's process ended without a word."""


class _WorkerCrashed(StageError):
    """A worker raised what isn't ours, a lost connection to another worker among it."""


def _distance_from_cause(error: Exception) -> int:
    """How far an error is from what went wrong: a worker's end breaks the others' connections."""
    return 2 if isinstance(error, _WorkerCrashed) else 1 if isinstance(error, _WorkerDied) else 0


def _end(processes: Sequence[BaseProcess], folder: tempfile.TemporaryDirectory[str]) -> None:
    for process in processes:
        process.kill()
    for process in processes:
        process.join()
    folder.cleanup()


@dataclass(frozen=True)
class _Worker:
    """One of several `workers`, which find each other by the file `meeting`; with `gpus`, each has one."""

    rank: int
    workers: int
    meeting: str
    threads: int
    gpus: bool


def _serve(pipe: Connection, make: Make, own: _Worker) -> None:
    """What a worker does until it is ended."""
    rank, workers = own.rank, own.workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that waits
    _die_with_parent()
    try:
        torch.set_num_threads(own.threads)
        for name in INTERFACES:
            os.environ.setdefault(name, "lo")
        if own.gpus:
            torch.cuda.set_device(rank)
        distributed.init_process_group(
            "nccl" if own.gpus else "gloo",
            init_method=f"file://{own.meeting}",
            rank=rank,
            world_size=workers,
            timeout=PATIENCE,
        )
        thing = make(rank, workers)
        pipe.send((None, None))
        while True:
            method, arguments = pipe.recv()
            pipe.send((None, getattr(thing, method)(*arguments)))
    except EOFError:
        return
    except WsssError as error:
        pipe.send((error, None))
    except Exception as error:
        if is_out_of_memory(error):  # the process that waits knows what was asked for
            pipe.send((MemoryError(f"worker {rank} of {workers}: {error}"), None))
            return
        text = "".join(traceback.format_exception(error)).rstrip()
        pipe.send((_WorkerCrashed(f"worker {rank} of {workers} failed:\n{text}"), None))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
