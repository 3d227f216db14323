"""Workers that fail: what is told is the cause, whichever word comes first."""

import functools
import os
import signal
import time

import pytest

from wsss.errors import DataError, StageError
from wsss.stages.training.worker_group import WorkerGroup


class Failing:
    """The first worker loses its connection at once; the second does what it is told, a moment later."""

    def __init__(self, rank: int, workers: int) -> None:
        self.rank = rank

    def fail(self, how: str) -> int:
        if self.rank == 0:
            raise RuntimeError("Connection reset by peer")
        if how == "hang":
            time.sleep(600)
        time.sleep(0.5)
        if how == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "raise":
            raise DataError("photo 7 can't be decoded")
        return self.rank


@pytest.mark.long
@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        ("die", StageError, r"^worker 1 of 2 died \(exit code -9\)"),
        ("raise", DataError, "^photo 7 can't be decoded$"),
        ("answer", StageError, "(?s)^worker 0 of 2 failed:.*Connection reset by peer"),
        ("hang", StageError, "(?s)^worker 0 of 2 failed:.*Connection reset by peer"),
    ],
)
def test_the_cause_is_told_not_the_connection_that_it_broke(
    how: str, kind: type[Exception], words: str
) -> None:
    group = WorkerGroup(functools.partial(Failing), 2, threads=1, gpus=False)
    processes = list(group._processes)
    with pytest.raises(kind, match=words):
        group.call("fail", how)
    assert not any(process.is_alive() for process in processes)
