"""Stage `cams`: multi-scale class activation maps of every image, for the classes its labels name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from wsss.config.params import CamsParams, ClassifierParams, Params
from wsss.data.view import DataView
from wsss.errors import ConfigError, Problem
from wsss.masks.cams import CamSource, group_by_size, multi_scale_cams
from wsss.models.cam_net import SubcategoryMaps
from wsss.stages.contract import Context, Stage
from wsss.stages.network import load_classifier, subcategory_parents
from wsss.stages.shards import split_shards, write_index, write_shard


class Cams(Stage):
    """One step makes one shard. Files: shards of float16[n, H, W] in [0, 1] at the photo's size."""

    name: ClassVar[str] = "cams"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("classifier",)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        assert isinstance(context.params, CamsParams)
        self.params = context.params
        self.ids = context.data.labelled_ids
        self.shards = split_shards(self.ids)
        self.labels = dict(zip(self.ids, context.data.dataset.labels(self.ids), strict=True))
        network = load_classifier(context.inputs["classifier"]).to(context.device).eval()
        self.source: CamSource = network
        if context.params.head == "subcategories":
            self.source = SubcategoryMaps(network, subcategory_parents(context.inputs["classifier"]))
        self.done = 0

    @classmethod
    def check_sources(cls, params: Params, sources: Mapping[str, Params]) -> None:
        assert isinstance(params, CamsParams)
        source = sources["classifier"]
        plain = isinstance(source, ClassifierParams) and not source.subcategory_weight
        if params.head == "subcategories" and plain:
            message = "`subcategories` needs a classifier with sub-categories, but this one has none"
            raise ConfigError(Problem("head", message, "set its `subcategory_weight`"))

    @classmethod
    def revision(cls, params: Params, sources: Mapping[str, Params]) -> int:
        """1 for sub-categories: their maximum was taken inside every scale and mirrored copy."""
        assert isinstance(params, CamsParams)
        return int(params.head == "subcategories")

    @classmethod
    def consumes(cls, params: Params, data: DataView) -> Mapping[str, str]:
        return {"images": data.image_key(data.labelled_ids)}

    @property
    def steps(self) -> int:
        return len(self.shards)

    def step(self) -> dict[str, float]:
        ids = self.shards[self.done]
        images = {id: np.asarray(self.context.data.dataset.image(id)) for id in ids}
        arrays: dict[str, np.ndarray] = {}
        for group in group_by_size([images[id].shape[:2] for id in ids]):
            names = [ids[index] for index in group if self.labels[ids[index]].any()]
            cams = multi_scale_cams(
                self.source,
                [images[name] for name in names],
                [np.flatnonzero(self.labels[name]) for name in names],
                scales=self.params.scales,
                flip=self.params.flip,
                size=self.params.size,
                device=self.context.device,
                registration=self.params.registration,
            )
            arrays.update(zip(names, cams, strict=True))
        write_shard(self.context.work, self.done, arrays)
        self.done += 1
        return {"images": float(len(ids))}

    def load(self, folder: Path, done: int) -> None:
        self.done = done

    def finish(self, folder: Path) -> dict[str, Any]:
        keys = {id: np.flatnonzero(label) for id, label in self.labels.items()}
        write_index(self.context.work, folder, self.shards, keys)
        return {"images": len(self.ids), "maps": int(sum(len(k) for k in keys.values()))}
