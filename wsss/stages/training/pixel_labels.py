"""The labels that a segmentation network learns from: pseudo masks, or the data set's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wsss.data.photo_set import Dataset
from wsss.data.pictures.sizes import shrink_mask
from wsss.labels import IGNORED
from wsss.masks.images import Mask, read_mask
from wsss.stages.kinds.refining.pseudo_masks import CONFIDENCE

LOOKED_AT = 64
"""Hold-out images that a network is compared on after each epoch while nothing depends on it."""


@dataclass(frozen=True)
class PixelLabels:
    """Gives the labels uint8[H, W] of an image at its working size, 255 where the network must not learn.

    They are the pseudo masks in `folder`, or the data set's masks when it is None.
    """

    dataset: Dataset
    folder: Path | None
    ignore_below: float = 0.0

    def __call__(self, id: str) -> Mask:
        if self.folder is None:
            return self.dataset.mask(id)
        labels = shrink_mask(read_mask(self.folder / f"{id}.png"))
        if self.ignore_below:
            confidence = shrink_mask(read_mask(self.folder / CONFIDENCE / f"{id}.png"))
            labels[confidence < round(255 * self.ignore_below)] = IGNORED
        return labels


def some_with_masks(labels: PixelLabels, ids: Sequence[str]) -> tuple[str, ...]:
    """Return some of the ids, evenly spaced, that have a pseudo mask; none where the data set's own masks are
    learnt from: those of the hold-out are not among them."""
    if labels.folder is None:
        return ()
    missing = set(unread(labels, ids))
    known = tuple(id for id in ids if id not in missing)
    return known[:: max(1, -(-len(known) // LOOKED_AT))]


def unread(labels: PixelLabels, ids: Sequence[str]) -> list[str]:
    """Return the ids whose labels, or whose confidence where it is needed, are missing."""
    if labels.folder is None:
        return []
    folders = [labels.folder, *([labels.folder / CONFIDENCE] if labels.ignore_below else [])]
    return [id for id in ids if not all((folder / f"{id}.png").is_file() for folder in folders)]
