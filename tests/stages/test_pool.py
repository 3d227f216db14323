"""Work on images in several processes."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from wsss.data.pool import ImagePool
from wsss.errors import StageError


def total_and_when(values: np.ndarray, power: int) -> tuple[int, float]:
    began = time.time()
    time.sleep(0.05)
    return int((values**power).sum()), began


def fail(values: np.ndarray) -> None:
    raise StageError(f"no {values.size}")


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_tasks(workers: int) -> None:
    sizes = [3, 50, 1, 20, 50, 0, 7]
    pool = ImagePool(workers)
    try:
        found = pool.map(total_and_when, [(np.full(size, 2), 3) for size in sizes])
        assert [total for total, _ in found] == [8 * size for size in sizes]
        assert pool.map(total_and_when, []) == []
    finally:
        pool.close()


def test_large_ones_are_begun_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """One process takes all, so that the order in which they begin is the order in which they are handed out."""
    monkeypatch.setattr("wsss.data.pool._processes", lambda workers: ProcessPoolExecutor(1))
    pool = ImagePool(2)
    try:
        found = pool.map(total_and_when, [(np.ones(size), 1) for size in (3, 1, 4, 2)])
    finally:
        pool.close()
    assert [total for total, _ in sorted(found, key=lambda one: one[1])] == [4, 3, 2, 1]


def test_an_error_is_the_functions_own() -> None:
    pool = ImagePool(2)
    try:
        with pytest.raises(StageError, match="no 3"):
            pool.map(fail, [(np.ones(3),), (np.ones(3),)])
    finally:
        pool.close()
