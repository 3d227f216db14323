"""A photo with its mask, as formats are given it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wsss.labels import IGNORED
from wsss.masks.images import read_mask


@dataclass(frozen=True)
class Item:
    """A photo, and the PNG that says what its pixels show: 0 background, k the k-th class, 255 unknown."""

    photo: Path
    mask: Path

    def regions(self, classes: Sequence[str]) -> tuple[tuple[int, int], Iterator[tuple[int, Region]]]:
        """Return (height, width) and (class, where it is bool[H, W]) of every class that is there, from 1."""
        ids = read_mask(self.mask)
        there = [int(id) for id in np.unique(ids) if 0 < id <= len(classes) and id != IGNORED]
        return (ids.shape[0], ids.shape[1]), ((id, ids == id) for id in there)


Region = npt.NDArray[np.bool_]
