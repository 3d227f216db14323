"""Making artefacts where memory runs out, and where checkpoints are dear."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_studies as toy
from virtual_gpu import virtual_gpus

from wsss.config.params.stages import CamsParams, ClassifierParams, SegmenterParams
from wsss.errors import StageError
from wsss.pipeline.chains import progress
from wsss.pipeline.chains.chain import Part, build_chain
from wsss.pipeline.chains.execute import run_chain
from wsss.stages.out_of_memory import described, is_out_of_memory
from wsss.stages.training.worker_group import WorkerGroup
from wsss.store.folder_store import Store


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> Any:
    return toy.install(monkeypatch)


def events(data: Any, root: Path, device: str = "cpu", **more: Any) -> Iterator[Any]:
    chain = build_chain([Part("classifier", "classifier", ClassifierParams(**more))], data, 0)
    return run_chain("t", chain, Store(root), data, device=device, threads=1)


SAID = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore lines."),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried …"
    ),
    MemoryError(),
]


@pytest.mark.parametrize("error", SAID, ids=lambda error: type(error).__name__)
def test_too_little_memory_is_an_error_of_ours_that_says_what_was_asked_for(
    error: Exception, data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of another kind would be retried by Ray, three times, and come with a traceback."""

    def step(self: Any) -> dict[str, float]:
        raise error

    monkeypatch.setattr(toy.Classifier, "step", step)
    with virtual_gpus(fraction=0.5) as card, pytest.raises(StageError) as caught:
        list(events(data, tmp_path, "cuda", batch=24))
    text = str(caught.value)
    asked = (
        "classifier ran out of memory with `batch` 24, `crop` 448, on a share of 50% of Virtual GPU, 40.0 GiB"
    )
    assert text.startswith(asked)
    assert "a smaller `batch`" in text and "resources.gpu" in text and "Traceback" not in text
    assert card.counts["empty_cache"], "the next trial of this process has the memory again"


def test_what_is_said_of_other_stages() -> None:
    text = described("segmenter", SegmenterParams(), "cpu")
    assert "with `batch` 10, `crop` 321, `accumulate` 1, `scales` [1.0, 0.75, 0.5], on the CPU" in text
    assert "a larger `accumulate` changes no result" in text
    assert "`scales` [0.5, 1.0, 1.5, 2.0]" in described("cams", CamsParams(), "cpu")
    assert not is_out_of_memory(RuntimeError("shapes don't fit")) and not is_out_of_memory(KeyError("x"))


class Starving:
    def __init__(self, rank: int, workers: int) -> None: ...

    def learn(self) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_a_worker_that_runs_out_of_memory_says_so() -> None:
    group = WorkerGroup(functools.partial(Starving), 1, threads=1, gpus=False)
    with pytest.raises(MemoryError, match="worker 0 of 1: CUDA out of memory") as caught:
        group.call("learn")
    assert is_out_of_memory(caught.value)


class Clock:
    """A clock that goes on when something takes time."""

    now = 0.0
    time = staticmethod(lambda: 0.0)
    sleep = staticmethod(lambda seconds: None)

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize(("cost", "most"), [(0.0, 101), (3.0, 8)])
def test_checkpoints_take_two_per_cent_of_the_time_at_most(
    cost: float, most: int, data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, written = Clock(), []
    monkeypatch.setattr(progress, "time", clock)
    step, save = toy.Classifier.step, toy.Classifier.save

    def slow_step(self: Any) -> dict[str, float]:
        clock.now += 1
        return step(self)

    def slow_save(self: Any, folder: Path) -> None:
        clock.now += cost
        written.append(self.done)
        save(self, folder)

    monkeypatch.setattr(toy.Classifier, "step", slow_step)
    monkeypatch.setattr(toy.Classifier, "save", slow_save)
    list(events(data, tmp_path, epochs=1000))
    assert written[0] == 10 and len(written) <= most
    # All but the first, which no other had told the cost of.
    assert cost * (len(written) - 1) <= 0.02 * clock.now
    assert written[1] - written[0] == (10 if not cost else 150)


def test_without_a_pause_there_is_one_after_every_step(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    monkeypatch.setattr(toy.Classifier, "save", lambda stage, folder: written.append(stage.done))
    chain = build_chain([Part("classifier", "classifier", ClassifierParams(epochs=5))], data, 0)
    list(run_chain("t", chain, Store(tmp_path), data, device="cpu", threads=1, checkpoint_seconds=0.0))
    assert written == [1, 2, 3, 4, 5]
