"""Crops of photos with their labels: both cut alike, padded with the mean and 255, shared without gaps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from wsss.data.batches.augment import random_state
from wsss.data.batches.pixel_batches import ResizedCrop, SegmentationBatches
from wsss.data.readers.voc import VocDataset
from wsss.data.sample.data_set import write_sample

CROPS = ResizedCrop(48, (48, 48), False, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), (0.5, 1.0, 1.5))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> VocDataset:
    root = tmp_path_factory.mktemp("crops") / "sample"
    write_sample(root, train=7, val=1, size=64)
    return VocDataset(root)


def batches(
    dataset: VocDataset, *, batch: int = 4, workers: int = 0, share: tuple[int, int] = (0, 1)
) -> SegmentationBatches:
    return SegmentationBatches(
        dataset,
        dataset.split("train"),
        CROPS,
        dataset.mask,
        batch=batch,
        seed=3,
        workers=workers,
        share=share,
    )


def test_photo_and_labels_are_cut_alike() -> None:
    """Where the red of a photo is its own label, it still is in every crop."""
    y, x = np.mgrid[:60, :90]
    ids = ((y // 20) * 40 + (x // 30) * 10).astype(np.uint8)
    photo = Image.fromarray(np.stack([ids, ids, ids], -1))
    crop = ResizedCrop(64, (64, 64), False, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.5, 1.0, 1.5))
    sizes = set()
    for number in range(40):
        pixels, labels = crop(photo, random_state(number)), crop.mask(ids, random_state(number))
        known = labels != 255
        rows, columns = int(known.any(1).sum()), int(known.any(0).sum())
        assert known[:rows, :columns].all() and not known[rows:].any() and not known[:, columns:].any()
        assert not pixels[:, ~known].any(), "what is missing has the mean colour"
        sizes.add((rows, columns))
        difference = np.abs(255 * pixels[0][known] - labels[known])
        assert np.mean(difference < 1) > 0.75 and np.median(difference) < 0.01
    assert sizes == {(30, 45), (60, 64), (64, 64)}


def test_batches_hold_the_labels_of_their_photos(dataset: VocDataset) -> None:
    source = batches(dataset)
    for images, labels, ids in source.epoch(2):
        assert images.shape == (4, 3, 48, 48) and labels.shape == (4, 48, 48) and labels.dtype == torch.uint8
        for image, label, id in zip(images, labels, ids, strict=True):
            assert np.array_equal(image, CROPS(dataset.image(id), random_state(3, 2, id)))
            assert np.array_equal(label, CROPS.mask(dataset.mask(id), random_state(3, 2, id)))


def test_background_processes_make_the_same_batches(dataset: VocDataset) -> None:
    alone, helped = batches(dataset), batches(dataset, workers=1)
    for (a, b, ids), (c, d, others) in zip(alone.epoch(1), helped.epoch(1), strict=True):
        assert torch.equal(a, c) and torch.equal(b, d) and ids == others
    helped.close()


@pytest.mark.parametrize("workers", [2, 3])
def test_shares_of_a_batch_make_the_whole(dataset: VocDataset, workers: int) -> None:
    whole = [set(ids) for _, _, ids in batches(dataset).epoch(0)]
    shares = [batches(dataset, share=(rank, workers)) for rank in range(workers)]
    parts = zip(*(share.epoch(0) for share in shares), strict=True)
    for expected, found in zip(whole, parts, strict=True):
        ids = [id for _, _, names in found for id in names]
        assert len(ids) == len(expected) and set(ids) == expected


def test_a_read_of_ones_own_replaces_the_data_sets_masks(dataset: VocDataset, tmp_path: Path) -> None:
    def nothing(id: str) -> np.ndarray:
        return np.full_like(dataset.mask(id), 255)

    crops = replace(CROPS, resize=(1.0,), color_jitter=True)
    source = SegmentationBatches(dataset, dataset.split("train"), crops, nothing, batch=4, seed=3)
    assert all(bool((labels == 255).all()) for _, labels, _ in source.epoch(0))
