"""Sub-labels reach the images that they were found for, whatever the order."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wsss.config.params.stages import ClassifierParams
from wsss.data.view import DataView
from wsss.stages.contract import Context
from wsss.stages.subcategories import read_subcategories
from wsss.stages.training.classifier import Classifier

PARENT = np.array([0, 0, 1, 2, 3, 4])


def write(folder: Path, ids: list[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Write made-up sub-categories in this order; return each image's labels and similarities."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (len(ids), len(PARENT)), dtype=np.uint8)
    similarity = rng.random((len(ids), len(PARENT)), dtype=np.float32)
    np.savez(
        folder / "subcategories.npz",
        allow_pickle=False,
        ids=np.asarray(ids),
        labels=labels,
        parent=PARENT,
        similarity=similarity,
    )
    return {id: (labels[row], similarity[row]) for row, id in enumerate(ids)}


def test_rows_are_found_by_id(tmp_path: Path) -> None:
    truth = write(tmp_path, ["c", "a", "d", "b"])
    found = read_subcategories(tmp_path, ["a", "b", "d"])
    assert found.parent.tolist() == PARENT.tolist()
    for row, id in enumerate("abd"):
        assert np.array_equal(found.labels[row], truth[id][0])
        assert np.array_equal(found.similarity[row], truth[id][1])


def test_the_classifier_learns_each_images_classes_clusters_and_similarities(
    tiny_view: DataView, tmp_path: Path
) -> None:
    truth = write(tmp_path, sorted(tiny_view.train, reverse=True))
    params = ClassifierParams(
        backbone="efficientnet_lite0", subcategory_weight=1.0, batch=4, crop=64, long_side=(64, 64)
    )
    inputs = {"subcategories": tmp_path}
    stage = Classifier(Context(params, inputs, tiny_view, 0, "cpu", 1, tmp_path))
    seen = set()
    for _, rows, ids in stage.batches.epoch(0):
        for row, id in zip(rows.numpy(), ids, strict=True):
            classes = tiny_view.dataset.labels([id])[0]
            np.testing.assert_array_equal(row, np.concatenate([classes, *truth[id]]).astype(np.float32))
            seen.add(id)
    stage.batches.close()
    assert len(seen) >= len(tiny_view.train) - 4
