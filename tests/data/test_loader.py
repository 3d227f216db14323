from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wsss.data.batches.augment import Augmentation
from wsss.data.batches.loader import Batch, ClassificationBatches
from wsss.data.readers.voc import VocDataset
from wsss.errors import DataError

CROPS = Augmentation(32, (24, 48), True, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
IDS = ("2007_000001", "2007_000002", "2007_000003", "2007_000005", "2007_000006", "x_4")


def batches(root: Path, ids: tuple[str, ...] = IDS, **keys: Any) -> ClassificationBatches:
    of_crops = {field.name for field in fields(CROPS)}
    crops = replace(CROPS, **{name: value for name, value in keys.items() if name in of_crops})
    more = {name: value for name, value in keys.items() if name not in of_crops}
    return ClassificationBatches(VocDataset(root), ids, crops, **{"batch": 2, "seed": 0, **more})


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) and a[2] == b[2]
        for a, b in zip(one, other, strict=True)
    )


def test_shapes_types_and_labels(tiny_voc: Path) -> None:
    loader = batches(tiny_voc)
    assert len(loader) == 3
    seen = []
    for images, labels, ids in loader.epoch(0):
        assert (images.shape, images.dtype) == ((2, 3, 32, 32), torch.float32)
        assert (labels.shape, labels.dtype) == ((2, 20), torch.float32)
        assert np.array_equal(labels.numpy(), VocDataset(tiny_voc).labels(ids))
        seen += ids
    assert sorted(seen) == list(IDS)


def test_labels_may_be_given(tiny_voc: Path) -> None:
    given = np.arange(12).reshape(6, 2) / 12
    for _, labels, ids in batches(tiny_voc, IDS[::-1], labels=given).epoch(0):
        for row, id in zip(labels, ids, strict=True):
            np.testing.assert_allclose(row, given[IDS[::-1].index(id)])
    with pytest.raises(ValueError, match="`labels` has 5 rows, but must have 6"):
        batches(tiny_voc, labels=given[:5])


def test_a_function_of_seed_and_epoch_only(tiny_voc: Path) -> None:
    first = list(batches(tiny_voc).epoch(3))
    loader = batches(tiny_voc, IDS[::-1])  # another order of ids, and other epochs before
    list(loader.epoch(0))
    assert same(list(loader.epoch(3)), first)
    assert not same(list(loader.epoch(4)), first)
    assert not same(list(batches(tiny_voc, seed=1).epoch(3)), first)


def test_an_image_looks_the_same_in_any_batch(tiny_voc: Path) -> None:
    def pictures(**keys: Any) -> dict[str, torch.Tensor]:
        return {
            id: image
            for images, _, ids in batches(tiny_voc, **keys).epoch(1)
            for id, image in zip(ids, images, strict=True)
        }

    twos, threes = pictures(batch=2), pictures(batch=3)
    assert all(torch.equal(twos[id], threes[id]) for id in IDS)
    assert not torch.equal(twos[IDS[0]], pictures(seed=9)[IDS[0]])


def test_orders_differ_between_epochs_and_cover_all(tiny_voc: Path) -> None:
    loader = batches(tiny_voc, batch=1)
    orders = [tuple(k for part in loader.order(epoch) for k in part) for epoch in range(20)]
    assert len(set(orders)) > 15
    assert all(sorted(order) == list(range(6)) for order in orders)


def test_the_rest_is_left_out_but_few_images_make_one_batch(tiny_voc: Path) -> None:
    assert [len(ids) for _, _, ids in batches(tiny_voc, batch=4).epoch(0)] == [4]
    few = batches(tiny_voc, batch=16)
    assert len(few) == 1
    assert [len(ids) for _, _, ids in few.epoch(0)] == [6]
    with pytest.raises(DataError, match="no images to train on"):
        batches(tiny_voc, ())


def test_background_processes_change_nothing(tiny_voc: Path) -> None:
    alone = batches(tiny_voc)
    loader = batches(tiny_voc, workers=2)
    try:
        assert same(list(loader.epoch(0)), list(alone.epoch(0)))
        next(loader.epoch(1))  # an epoch that nobody finishes
        assert same(list(loader.epoch(2)), list(alone.epoch(2)))
        (tiny_voc / "JPEGImages/x_4.jpg").write_bytes(b"broken")
        with pytest.raises(DataError, match=r"^.*x_4\.jpg: photo can't be decoded"):
            list(loader.epoch(3))
    finally:
        loader.close()
    with pytest.raises(DataError, match=r"^.*x_4\.jpg: photo can't be decoded"):
        list(alone.epoch(3))


def test_real_photos(voc_root: Path) -> None:
    dataset = VocDataset(voc_root)
    loader = batches(voc_root, dataset.split("mini_train")[:8], batch=8, crop=96, long_side=(96, 160))
    ((images, labels, _),) = loader.epoch(0)
    assert torch.isfinite(images).all()
    assert -1 <= images.min() < images.max() <= 1
    assert labels.any(1).all()
