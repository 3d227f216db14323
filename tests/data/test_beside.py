"""Threads beside a GPU: the order of what is read, what is written by the end, and errors of both."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from wsss.config.params.base import Params
from wsss.data import beside as beside_module
from wsss.data.beside import Beside
from wsss.data.pool import ImagePool
from wsss.errors import StageError
from wsss.stages.chunks import ChunkedStage
from wsss.stages.contract import Context


def test_what_is_read_comes_in_order_and_ahead_of_time() -> None:
    begun: list[int] = []

    def read(number: int) -> int:
        begun.append(number)
        return number * number

    with Beside("cuda", 3) as beside:
        found = beside.read(read, range(20))
        assert next(found) == 0
        while len(begun) < beside_module.AHEAD * 2 + 1:  # two threads; the third CPU feeds the GPU
            pass
        assert list(found) == [number * number for number in range(1, 20)]
    assert sorted(begun) == list(range(20))


def test_on_a_cpu_nothing_is_done_before_it_is_asked_for() -> None:
    who: list[str] = []

    def read(number: int) -> int:
        who.append(threading.current_thread().name)
        return number

    with Beside("cpu", 8) as beside:
        found = beside.read(read, range(3))
        assert who == [] and next(found) == 0 and len(who) == 1
        beside.write(read, 1)
        assert who == [threading.current_thread().name] * 2


def test_all_is_written_when_the_block_ends(tmp_path: Path) -> None:
    gate = threading.Event()

    def write(path: Path) -> None:
        gate.wait(30)
        path.write_text("x")

    with Beside("cuda", 2) as beside:
        for number in range(5):
            beside.write(write, tmp_path / str(number))
        assert not list(tmp_path.iterdir()), "the network goes on meanwhile"
        gate.set()
    assert len(list(tmp_path.iterdir())) == 5


def fail(value: object) -> None:
    raise StageError(f"no {value}")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_errors_of_reading_and_of_writing_are_raised(device: str) -> None:
    with pytest.raises(StageError, match="no 1"), Beside(device, 2) as beside:
        list(beside.read(fail, [1]))
    with pytest.raises(StageError, match="no 2"), Beside(device, 2) as beside:
        beside.write(fail, 2)


def test_what_went_wrong_first_is_told() -> None:
    def network() -> None:
        with Beside("cuda", 2) as beside:
            beside.write(fail, 3)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        network()


def total(values: np.ndarray) -> int:
    return int(values.sum())


@pytest.mark.parametrize("workers", [1, 2])
def test_a_pool_begins_one_task_at_a_time(workers: int) -> None:
    pool = ImagePool(workers)
    try:
        waiting = [pool.start(total, (np.full(size, 2),)) for size in (3, 1, 2)]
        assert [wait() for wait in waiting] == [6, 2, 4]
    finally:
        pool.close()


class Refined(ChunkedStage):
    def step(self) -> None:
        return None

    def finish(self, folder: Path) -> dict[str, object]:
        return {}


class Pool:
    """Stands in for one of processes: notes what is begun and waited for."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def start(self, function: object, task: tuple[np.ndarray]) -> object:
        name = str(int(task[0][0]))
        self.log.append(f"begin {name}")
        return lambda: self.log.append(f"wait {name}") or name


def test_a_pool_works_while_the_network_makes_the_next_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Refined(Context(Params(), {}, None, 0, "cuda", 2, tmp_path), [])  # type: ignore[arg-type]
    pool = Pool()
    monkeypatch.setattr(stage, "pool", pool)

    def tasks() -> Iterator[tuple[np.ndarray]]:
        for number in range(4):
            pool.log.append(f"network {number}")
            yield (np.full(10, number),)

    monkeypatch.setattr(stage, "_most_memory", lambda: 25.0)
    assert stage.refine(total, tasks(), need=lambda values: 10.0) == ["0", "1", "2", "3"]
    assert pool.log == [
        "network 0", "begin 0", "network 1", "begin 1", "network 2", "wait 0", "begin 2",
        "network 3", "wait 1", "begin 3", "wait 2", "wait 3",
    ], "as many at once as memory allows"  # fmt: skip
