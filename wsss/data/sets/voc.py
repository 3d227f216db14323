"""The data set `voc`: a folder in the layout of PASCAL VOC's devkit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wsss.config.data_set import DATA_SETS, DataSetKind


@DATA_SETS.register
class Voc(DataSetKind):
    name = "voc"
    described = "PASCAL VOC"

    @classmethod
    def recognises(cls, root: Path) -> bool:
        from wsss.data.readers.voc import FOLDERS

        return any((root / name).is_dir() for name in FOLDERS) or (root / "VOCdevkit").is_dir()

    @classmethod
    def open(cls, spec: Any, storage: Path) -> Any:
        from wsss.data.readers.voc import VocDataset

        return VocDataset(spec.root, spec.classes)
