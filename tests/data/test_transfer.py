"""Crops that travel as bytes: the same images as those that were finished before, to rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import virtual_gpu
from test_loader import batches
from virtual_gpu import Race, virtual_gpus

from wsss.data.batches import loader
from wsss.data.batches.loader import BatchSource
from wsss.data.batches.transfer import Crops, finished, sent
from wsss.errors import StageError


@pytest.mark.parametrize("color_jitter", [True, False])
@pytest.mark.parametrize("long_side", [(24, 30), (40, 64)], ids=["with a border", "filled"])
def test_images_are_those_of_the_cpu(tiny_voc: Path, color_jitter: bool, long_side: tuple[int, int]) -> None:
    keys = {"color_jitter": color_jitter, "long_side": long_side, "std": (0.2, 0.3, 0.25)}
    expected = list(batches(tiny_voc, **keys).epoch(2))
    with virtual_gpus() as card:
        found = list(batches(tiny_voc, device="cuda", **keys).epoch(2))
        assert all(images.is_cuda and not labels.is_cuda for images, labels, _ in found)
        assert card.waits == 0 and card.counts["upload from pageable memory"] == 0
        moved = [(images.cpu(), labels, ids) for images, labels, ids in found]
    assert all(images.is_contiguous(memory_format=torch.channels_last) for images, _, _ in moved)
    for (ours, labels, ids), (theirs, their_labels, their_ids) in zip(moved, expected, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=2e-5)
        assert torch.equal(labels, their_labels) and ids == their_ids


def test_each_batch_is_made_ahead_on_a_stream_of_its_own(
    tiny_voc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[str, int]] = []
    real = loader.finished

    def noted(*arguments: Any) -> torch.Tensor:
        assert virtual_gpu._card is not None
        made.append(("made", virtual_gpu._card.stream))
        return real(*arguments)

    monkeypatch.setattr(loader, "finished", noted)
    with virtual_gpus():
        for images, _, _ in batches(tiny_voc, device="cuda").epoch(0):
            assert (images + 1).is_cuda
            made.append(("used", 0))
    beside = made[0][1]
    expected = [("made", beside), ("made", beside), ("used", 0), ("made", beside), ("used", 0), ("used", 0)]
    assert beside != 0 and made == expected, "the next is on its way before the GPU has work with this one"


@pytest.mark.parametrize("forgotten", ["wait_event", "record_stream"])
def test_a_batch_that_was_not_waited_for_is_found(
    tiny_voc: Path, forgotten: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = virtual_gpu.Stream if forgotten == "wait_event" else virtual_gpu.VirtualTensor
    monkeypatch.setattr(owner, forgotten, lambda self, other: None)
    with virtual_gpus():
        images, _, _ = next(batches(tiny_voc, device="cuda").epoch(0))
        with pytest.raises(Race):
            images + 1


def test_without_jitter_they_are_the_same_bit_for_bit(tiny_voc: Path) -> None:
    source = batches(tiny_voc, color_jitter=False)._source
    images, _, _ = source.make((0, (0, 1, 2)))
    raw = BatchSource(source.dataset, source.ids, source.labels, source.augmentation, source.seed, raw=True)
    crops, _, _ = raw.make((0, (0, 1, 2)))
    assert isinstance(crops, Crops) and crops.pixels.dtype == torch.uint8
    assert crops.pixels.nbytes * 4 == images.nbytes, "a quarter of the bytes"
    mean, std = source.augmentation.mean, source.augmentation.std
    assert np.array_equal(finished(crops, mean, std, torch.device("cpu")).numpy(), images)


def test_finished_images_go_around_shared_memory(tiny_voc: Path) -> None:
    """A container's /dev/shm may hold less than one batch of floats: arrays go through a pipe."""
    assert isinstance(batches(tiny_voc)._source.make((0, (0,)))[0], np.ndarray)
    with_one = batches(tiny_voc, workers=1)
    try:
        for ours, theirs in zip(with_one.epoch(0), batches(tiny_voc).epoch(0), strict=True):
            assert torch.equal(ours[0], theirs[0]) and not ours[0].is_shared()
            ours[0].add_(1)  # it can be written to
    finally:
        with_one.close()


def test_a_background_process_that_dies_is_an_error_of_ours(
    tiny_voc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: object) -> object:
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that …")

    monkeypatch.setattr("wsss.data.batches.loader.DataLoader.__iter__", killed)
    with pytest.raises(StageError, match=r"worker \(pid 7\) is killed by signal: Bus error.*/dev/shm"):
        next(batches(tiny_voc, workers=1).epoch(0))


def test_what_is_sent_is_pinned_and_not_waited_for() -> None:
    with virtual_gpus() as card:
        there = sent(torch.arange(3), "cuda")
        assert sent(there, "cuda") is there
        assert card.counts["upload"] == 1 and card.waits == 0
    here = torch.arange(3)
    assert sent(here, "cpu") is here
