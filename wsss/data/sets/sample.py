"""The data set `sample`: drawn animals, so that anything can be tried without any data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wsss.config.data_set import DATA_SETS, DataSetKind
from wsss.config.stage import CROP
from wsss.config.study import SampleSpec

IMAGES = 16
"""Images of the list that is scored in `--smoke`, and half of those that are trained on."""


@DATA_SETS.register
class Sample(DataSetKind):
    name = "sample"
    described = "the drawn sample set"
    needs_root = False

    @classmethod
    def small(cls, spec: Any) -> dict[str, Any]:
        return {"sample": SampleSpec(train=2 * IMAGES, val=IMAGES, size=CROP)}

    @classmethod
    def open(cls, spec: Any, storage: Path) -> Any:
        from wsss.data.readers.voc import VocDataset
        from wsss.data.sample.data_set import write_sample  # draws pictures: needed by few
        from wsss.files import writing

        if spec.root is not None:
            return VocDataset(spec.root, spec.classes)
        sample = spec.sample or SampleSpec()
        name = f"sample-{sample.train}-{sample.val}-{sample.size}-{sample.seed}"
        root = storage.absolute() / "data" / name
        with writing(root):
            write_sample(root, train=sample.train, val=sample.val, size=sample.size, seed=sample.seed)
        return VocDataset(root, spec.classes)
