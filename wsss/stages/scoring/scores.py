"""Stage `scores`: compares CAMs or masks with ground truth. The only stage that reads masks to compare with.

Masks of a segmentation network, which no label has helped, are scored on `select` and `test`; CAMs and pseudo
masks on `select` and `report`. A threshold is chosen on the `select` images and applied to the `report`
images; fixed thresholds, two numbers that no threshold enters (the area under mIoU(τ), PxAP) and a label-only
floor stand beside it. What publications do (choosing the threshold
on the masks that are reported) is computed too, under its own name, and never used to choose anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsss.files import write_json
from wsss.metrics import (
    THRESHOLDS,
    WHOLE_RANGE,
    PixelRanking,
    ThresholdCurve,
    boundary_counts,
    centre_box,
    confusion,
    error_split,
    mean_boundary_f,
    miou,
    summary,
)
from wsss.metrics.confusion import defined
from wsss.stages.chunks import ListedStage
from wsss.stages.contract import Context
from wsss.stages.kinds.scoring.pictures import OVERLAYS
from wsss.stages.kinds.scoring.scores import (
    CONFUSIONS_FILE,
    CURVES_FILE,
    SCORES_FILE,
    ScoresParams,
    scored_ids,
)
from wsss.stages.scoring.masks import ArtefactMasks
from wsss.stages.scoring.pictures import draw_curve, draw_samples
from wsss.stages.shards import split_shards

FIXED = (0.15, 0.20)
PICTURES = 6


class _Part:
    """The images of one split and half, and what has been counted on them."""

    def __init__(self, ids: Sequence[str], classes: int) -> None:
        self.ids = list(ids)
        self.curve = ThresholdCurve(classes, WHOLE_RANGE)
        self.ranking = PixelRanking()
        self.confusions: list[np.ndarray] = []
        self.floor: list[np.ndarray] = []


class Scores(ListedStage):
    """One step counts a chunk of images. Files: scores.json, confusions.npz, of CAMs also curves.npz (each
    image's counts at every threshold that may be chosen), and two pictures."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        assert isinstance(context.params, ScoresParams)
        how = context.params.how
        self.kind = context.params.kind
        self.masks = ArtefactMasks(context.inputs[self.kind], how)
        self.cams = self.masks.cams
        dataset = context.data.dataset
        self.classes = dataset.classes
        parts = scored_ids(context.params, context.data)
        self.parts = {name: _Part(ids, len(self.classes)) for name, ids in parts.items()}
        self.chunks = [(name, chunk) for name, part in self.parts.items() for chunk in split_shards(part.ids)]
        self.labels: dict[str, np.ndarray] = {}
        if how.on == "report":  # nothing of `test` may know an image's labels, not even the floor
            ids = [*context.data.select, *context.data.report]
            self.labels = dict(zip(ids, dataset.labels(ids), strict=True))

    def step(self) -> dict[str, float]:
        name, ids = self.chunks[self.done]
        for id in ids:
            self._count(self.parts[name], id)
        self.done += 1
        return {"images": float(len(ids))}

    def _count(self, part: _Part, id: str) -> None:
        truth = self.context.data.dataset.mask(id)
        if self.cams is not None:
            cams, keys = self.cams[id]
            part.curve.add(truth, cams, keys)
            part.ranking.add(truth, cams, keys)
        else:
            part.confusions.append(confusion(truth, self.masks.mask(id, truth.shape), len(self.classes)))
        present = np.flatnonzero(self.labels.get(id, ()))
        first = int(present[0]) + 1 if len(present) else 0
        part.floor.append(confusion(truth, centre_box(truth.shape, first), len(self.classes)))

    def load(self, folder: Path, done: int) -> None:
        for _ in range(done):  # counting again is faster than keeping the counts
            self.step()

    def finish(self, folder: Path) -> dict[str, Any]:
        scores: dict[str, Any] = {"kind": self.kind, "classes": list(self.classes)}
        arrays: dict[str, np.ndarray] = {
            f"{name}_ids": np.asarray(part.ids) for name, part in self.parts.items()
        }
        threshold: int | None = None  # its place in THRESHOLDS
        for name, part in self.parts.items():
            if self.cams is not None:
                if threshold is None:
                    threshold = part.curve.best(len(THRESHOLDS))[0]
                confusions = part.curve.confusions(threshold)
            else:
                confusions = np.stack(part.confusions)
            arrays[name] = confusions.astype(np.int32)
            outlines = np.stack([self._outlines(id, threshold) for id in part.ids])
            arrays[f"{name}_outlines"] = outlines.astype(np.int32)
            scores[name] = self._part_scores(part, confusions, threshold)
            scores[name] |= defined({"boundary_f": mean_boundary_f(outlines.sum(0))})
            if threshold is not None:
                for fixed in FIXED:
                    at = part.curve.confusions(_index(fixed)).astype(np.int32)
                    arrays[f"{name}_at_{fixed:.2f}"] = at
        if self.cams is not None:
            scores["published"] = self._published()
            write_arrays(folder / CURVES_FILE, self._curves())
        write_json(folder / SCORES_FILE, scores)
        write_arrays(folder / CONFUSIONS_FILE, arrays)
        self._draw(folder, threshold)
        return {name: scores[name]["miou"] for name in self.parts}

    def _part_scores(self, part: _Part, confusions: np.ndarray, threshold: int | None) -> dict[str, Any]:
        result = summary(confusions.sum(0), self.classes)
        result |= defined(error_split(confusions.sum(0)))
        result["images"] = len(part.ids)
        result["floor"] = miou(np.sum(part.floor, axis=0))
        if threshold is not None:
            curve = part.curve.miou()
            result["threshold"] = THRESHOLDS[threshold]
            result["curve"] = [round(float(value), 6) for value in curve[: len(THRESHOLDS)]]
            result |= defined({"area": float(curve.mean()), "pxap": part.ranking.pxap()})
            for fixed in FIXED:
                result[f"miou_at_{fixed:.2f}"] = float(curve[_index(fixed)])
        return result

    def _curves(self) -> dict[str, np.ndarray]:
        """Return "<part>_hits" and "<part>_predicted", int32[N, T, C + 1]: choosing again with fewer masks
        needs no more than these."""
        arrays = {}
        for name, part in self.parts.items():
            arrays[f"{name}_hits"], arrays[f"{name}_predicted"] = part.curve.marginals(len(THRESHOLDS))
        return arrays

    def _outlines(self, id: str, threshold: int | None) -> np.ndarray:
        """Return how the outlines of an image's mask agree, at the threshold that was chosen."""
        truth = self.context.data.dataset.mask(id)
        return boundary_counts(truth, self._mask(id, truth.shape, threshold), len(self.classes))

    def _mask(self, id: str, size: tuple[int, ...], threshold: int | None) -> np.ndarray:
        return self.masks.mask(id, size, None if threshold is None else THRESHOLDS[threshold])

    def _published(self) -> dict[str, Any]:
        """Score with the threshold chosen on the very masks that are reported."""
        curve = self.parts["report"].curve
        index, threshold, _ = curve.best(len(THRESHOLDS))
        result = summary(curve.confusions(index).sum(0), self.classes)
        return {**result, "threshold": threshold, "protocol": "threshold chosen on the reported masks"}

    def _draw(self, folder: Path, threshold: int | None) -> None:
        dataset = self.context.data.dataset
        rows = []
        for id in list(self.parts.values())[-1].ids[:PICTURES]:
            photo = self.context.data.photo(id)
            mask = self._mask(id, photo.shape[:2], threshold)
            rows.append((id, photo, self.masks.maps(id), mask, dataset.mask(id)))
        draw_samples(folder / OVERLAYS, rows)
        if threshold is not None:
            curves = {name: part.curve.miou()[: len(THRESHOLDS)] for name, part in self.parts.items()}
            draw_curve(folder / "threshold_curve.png", THRESHOLDS, curves, THRESHOLDS[threshold])


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as a compressed .npz without pickles."""
    np.savez_compressed(path, allow_pickle=False, **arrays)


def _index(threshold: float) -> int:
    return int(np.argmin(np.abs(np.asarray(WHOLE_RANGE) - threshold)))
