"""What many masks hold, counted one after another: shares of classes, masks without an object, boxes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from wsss.labels import BACKGROUND, IGNORED
from wsss.masks.images import Mask, read_mask

LOOKED_AT = 512
"""Pixels of the longer side at which shapes are looked at: a larger mask is thinned out."""
SMALLEST = 0.002
"""Share of the mask below which a piece has no shape worth a look."""
BOX = 0.98
"""Share of its bounding box that a piece fills when it is one. A disc fills 0.79, a photo's frame 1."""
WHOLE = 0.95
"""Share of the mask from which on a piece is no box but all there is."""


class MaskCensus:
    """Counts masks. `photos` are all, `empty` those without an object, `boxes` those whose objects are
    rectangles along the photo's edges; `pixels` is float64[C + 1], the sum of each mask's shares.

    Args:
        classes: the C names, without the background.

    Examples:
        >>> census = MaskCensus(["cat", "dog"])
        >>> census.add(np.zeros((4, 4), np.uint8))
        >>> census.add(np.full((4, 4), 2, np.uint8))
        >>> census.empty, census.shares
        (1, {'background': 0.5, 'cat': 0.0, 'dog': 0.5})
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.names = ("background", *classes)
        self.photos = self.empty = self.boxes = 0
        self.pixels = np.zeros(len(self.names))

    def add(self, mask: Mask) -> None:
        """Count a mask, uint8[H, W] of ids in 0..C, or 255 for pixels of which nothing is said."""
        counts = np.bincount(mask.ravel(), minlength=IGNORED + 1)[: len(self.names)]
        self.photos += 1
        if not counts[BACKGROUND + 1 :].any():
            self.empty += 1
        elif is_boxes(mask):
            self.boxes += 1
        if counts.sum():
            self.pixels += counts / counts.sum()

    @property
    def shares(self) -> dict[str, float]:
        """Return each name's share of a photo's pixels, the mean over photos: `background` first."""
        shares = self.pixels / max(1.0, float(self.pixels.sum()))
        return {name: float(share) for name, share in zip(self.names, shares, strict=True)}


def is_boxes(mask: Mask) -> bool:
    """Whether all of a mask's objects are rectangles along its edges, as no photo's objects are.

    Args:
        mask: ids uint8[H, W]; 0 and 255 are no objects.

    Examples:
        >>> mask = np.zeros((20, 20), np.uint8)
        >>> mask[3:15, 4:9] = 1
        >>> is_boxes(mask)
        True
        >>> mask[3:6, 4] = 0
        >>> is_boxes(mask)
        False
    """
    from scipy import ndimage  # takes a second

    step = max(1, -(-max(mask.shape) // LOOKED_AT))
    small = mask[::step, ::step]
    least = max(9.0, SMALLEST * small.size)
    found = 0
    for id in np.unique(small):
        if id in (BACKGROUND, IGNORED):
            continue
        pieces, _ = ndimage.label(small == id)
        sizes = np.bincount(pieces.ravel())
        for number, where in enumerate(ndimage.find_objects(pieces), start=1):
            if sizes[number] < least:
                continue
            if sizes[number] < BOX * pieces[where].size or sizes[number] > WHOLE * small.size:
                return False
            found += 1
    return found > 0


def census_of(paths: Iterable[Path], classes: Sequence[str], most: int | None = None) -> MaskCensus:
    """Return the census of mask files. Raises `DataError` for a file that is no mask.

    Args:
        paths: PNG files of ids.
        classes: the C names, without the background.
        most: how many of the files, evenly spaced, are looked at; None for all.
    """
    chosen = list(paths)
    if most is not None:
        chosen = chosen[:: max(1, -(-len(chosen) // most))]
    census = MaskCensus(classes)
    for path in chosen:
        census.add(read_mask(path))
    return census
