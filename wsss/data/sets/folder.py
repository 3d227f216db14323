"""The data set `folder`: photos of anybody's, with a table of labels and masks if there are any."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from wsss.config.data_set import DATA_SETS, DataSetKind


@DATA_SETS.register
class PhotoFolder(DataSetKind):
    """A folder has no lists of its own: all of it is trained on, what has a mask is scored."""

    name = "folder"
    described = "a folder of photos"
    keys = ("labels", "masks")
    defaults: ClassVar[Mapping[str, Any]] = {
        "train": "all",
        "holdout": 0.2,  # it may be all there is to judge by
        "select": {"split": "masked", "half": "a"},
        "report": {"split": "masked", "half": "b"},
    }

    @classmethod
    def scored(cls, spec: Any) -> bool:
        return spec.mask_folder is not None

    @classmethod
    def resolved(cls, spec: Any, root: Path | None) -> dict[str, Any]:
        if spec.masks is not None or root is None:
            return {}
        return {"masks": root / "masks" if os.path.lexists(root / "masks") else "none"}

    @classmethod
    def open(cls, spec: Any, storage: Path) -> Any:
        from wsss.data.readers.folder import FolderDataset

        return FolderDataset(spec.root, spec.classes, labels=spec.labels, masks=spec.mask_folder)
