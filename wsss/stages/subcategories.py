"""Stage `subcategories`: clusters of each class's training images, as labels for a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsss.config.params.stages import SubcategoriesParams
from wsss.methods.subcategories import Clustering, Subcategories, discover_class, join
from wsss.stages.contract import Context, Stage
from wsss.stages.kinds.features import FEATURES_FILE

FILE = "subcategories.npz"


class SubcategoriesStage(Stage):
    """One step clusters one class. Files: subcategories.npz with ids str[N], labels uint8[N, S],
    parent int64[S] (the class of each sub-category) and similarity float32[N, S].

    Only training images are clustered: the hold-out and images that are scored have no say.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        params = context.params
        assert isinstance(params, SubcategoriesParams)
        self.how = Clustering(**params.model_dump(), seed=context.seed)
        with np.load(context.inputs["features"] / FEATURES_FILE, allow_pickle=False) as stored:
            self.ids, self.features = stored["ids"], stored["features"]
        self.labels = context.data.dataset.labels(self.ids.tolist())
        self.done = 0

    @property
    def steps(self) -> int:
        return len(self.context.data.dataset.classes)

    def step(self) -> dict[str, float]:
        found = discover_class(self.features, self.labels, self.done, self.how)
        _write(self.context.work / f"{self.done:03d}.npz", found)
        self.done += 1
        return {"subcategories": float(len(found.parent))}

    def load(self, folder: Path, done: int) -> None:
        self.done = done

    def finish(self, folder: Path) -> dict[str, Any]:
        found = join([_read(self.context.work / f"{number:03d}.npz") for number in range(self.steps)])
        _write(folder / FILE, found, ids=self.ids)
        counts = np.bincount(found.parent).tolist()
        clusters = dict(zip(self.context.data.dataset.classes, counts, strict=True))
        return {"clusters": clusters, "sizes": found.labels.sum(0).tolist()}


def read_subcategories(folder: Path, ids: Sequence[str]) -> Subcategories:
    """Return an artefact's sub-categories with these images as rows."""
    found = _read(folder / FILE)
    with np.load(folder / FILE, allow_pickle=False) as stored:
        rows = {id: number for number, id in enumerate(stored["ids"].tolist())}
    order = [rows[id] for id in ids]
    return Subcategories(found.labels[order], found.parent, found.similarity[order])


def _write(path: Path, found: Subcategories, **more: np.ndarray) -> None:
    np.savez(
        path,
        allow_pickle=False,
        labels=found.labels,
        parent=found.parent,
        similarity=found.similarity,
        **more,
    )


def _read(path: Path) -> Subcategories:
    with np.load(path, allow_pickle=False) as stored:
        return Subcategories(stored["labels"], stored["parent"], stored["similarity"])
