"""How large a copy of a photo a stage sees, and what is said and remembered of it."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import wsss.stages.chunks as chunks
from wsss.data.pool import array_bytes
from wsss.errors import StageError
from wsss.stages.chunks import ChunkedStage
from wsss.stages.memory_bound import CEILING, MemoryBound, copies
from wsss.stages.shards import parts

PLENTY = 2**40


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The bytes that are free, to be changed."""
    state = {"bytes": PLENTY}
    monkeypatch.setattr(MemoryBound, "_free", lambda self, device: state["bytes"])
    return state


def bound(work: Path) -> MemoryBound:
    return MemoryBound(work, "CAMs", "cpu")


def test_what_fits_stays_and_nothing_is_said(
    free: dict[str, int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = bound(tmp_path)
    assert one.fit("a", (375, 500), 2000.0) == (375, 500)
    assert one.fit("b", (512, 512), 1e5) == (512, 512), "of ordinary size, whatever it takes"
    assert one.notes() == {} and not caplog.records


def test_the_ceiling_is_the_same_on_every_machine(
    free: dict[str, int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    per_pixel = CEILING / 500_000
    sizes = []
    for number, has in enumerate((PLENTY, 8 * CEILING)):
        free["bytes"] = has
        work = tmp_path / str(number)
        work.mkdir()
        one = bound(work)
        sizes.append(one.fit("a", (1000, 1000), per_pixel))
        assert one.notes() == {"smaller": {"a": list(sizes[-1])}}
    assert sizes == [(707, 707)] * 2
    assert "CAMs of a, of 1000 × 1000 pixels, would take 6.0 GiB, more than 3" in caplog.text


def test_less_where_less_is_free_and_the_record_says_so(
    free: dict[str, int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    free["bytes"] = 10**9
    one = bound(tmp_path)
    height, width = one.fit("a", (300, 400), 8e8 / 60_000)
    assert height * width <= 60_000 < 1.02 * height * width and abs(width / height - 4 / 3) < 0.02
    one.fit("b", (300, 400), 8e8 / 60_000)
    assert one.notes() == {
        "smaller": {"a": [height, width], "b": [height, width]},
        "free_memory_allowed_gib": round(8e8 / 2**30, 3),
    }
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1
    with pytest.raises(StageError, match=r"CAMs of c take .* more than the"):
        one.fit("c", (300, 400), 1e6)


def test_a_stage_that_goes_on_takes_no_more_than_before(free: dict[str, int], tmp_path: Path) -> None:
    free["bytes"] = 10**9
    first = bound(tmp_path)
    small = first.fit("a", (300, 400), 8e8 / 60_000)
    first.save()
    free["bytes"] = PLENTY
    second = bound(tmp_path)
    assert second.fit("b", (300, 400), 8e8 / 60_000) == small
    assert second.notes()["smaller"] == {"a": list(small), "b": list(small)}


def test_copies_show_the_same_smaller() -> None:
    photo = np.zeros((100, 200, 3), np.uint8)
    photo[:, 100:] = 200
    maps = (photo[None, ..., 0] > 0).astype(np.float16)
    small, fewer = copies(photo, maps, (50, 100))
    assert small.shape == (50, 100, 3) and fewer.shape == (1, 50, 100) and fewer.dtype == np.float16
    assert np.array_equal(fewer[0] > 0.5, small[..., 0] > 100) and small[..., 0].mean() == pytest.approx(
        100, abs=1
    )
    same = copies(photo, maps, (100, 200))
    assert same[0] is photo and same[1] is maps


def test_runs_of_photos_whose_maps_fit_together() -> None:
    items = list("abcdef")
    assert list(parts(items, dict.fromkeys(items, 1), 10)) == [items]
    assert list(parts(items, dict(zip(items, [3, 3, 5, 11, 2, 1], strict=True)), 6)) == [
        ["a", "b"],
        ["c"],
        ["d"],
        ["e", "f"],
    ]


class Counting:
    """Stands for a pool and notes what it is given together."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def map(self, function: Any, tasks: list[Any]) -> list[Any]:
        self.calls.append(len(tasks))
        return [function(*task) for task in tasks]


def refine(monkeypatch: pytest.MonkeyPatch, need: float, waiting: int) -> tuple[list[int], list[float]]:
    """Return how many of seven tasks of 80 bytes two processes get together, and how many were made ahead."""
    monkeypatch.setattr(chunks, "MOST_WAITING", waiting)
    stage: Any = SimpleNamespace(context=SimpleNamespace(threads=2, device="cpu"), pool=Counting())
    stage._together = lambda *words: ChunkedStage._together(stage, *words)
    stage._most_memory = lambda: ChunkedStage._most_memory(stage)
    made = []

    def tasks() -> Any:
        for number in range(7):
            made.append(sum(stage.pool.calls))
            yield (np.full(10, number, np.float64),)

    found = ChunkedStage.refine(stage, lambda a: float(a.sum()), tasks(), lambda a: need)
    assert found == [10.0 * number for number in range(7)]
    return stage.pool.calls, made


def test_photos_wait_group_by_group_and_large_ones_are_refined_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert array_bytes((np.zeros(10),)) == 80
    monkeypatch.setattr(chunks, "free_memory", lambda device: PLENTY)
    calls, _ = refine(monkeypatch, need=1e8, waiting=1000)
    assert calls == [7], "as ever, for photos of ordinary size"
    calls, made = refine(monkeypatch, need=1e8, waiting=200)
    assert calls == [2, 2, 2, 1] and made == [0, 0, 0, 2, 2, 4, 4], "made when the ones before are done"
    calls, _ = refine(monkeypatch, need=2e9, waiting=1000)
    assert calls == [1] * 7, "two at once would take more than processes may"
    monkeypatch.setattr(chunks, "free_memory", lambda device: 10**8)
    calls, _ = refine(monkeypatch, need=1e8, waiting=1000)
    assert calls == [1] * 7, "nor is so much free"
