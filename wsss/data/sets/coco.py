"""The data set `coco`: photos and instances in COCO's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wsss.config.data_set import DATA_SETS, DataSetKind


@DATA_SETS.register
class Coco(DataSetKind):
    name = "coco"
    described = "MS COCO"

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return any((root / "annotations").glob("instances_*.json"))

    @classmethod
    def open(cls, spec: Any, storage: Path) -> Any:
        from wsss.data.readers.coco import CocoDataset

        return CocoDataset(spec.root, spec.classes, cache=storage.absolute() / "data")
