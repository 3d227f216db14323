"""The masks that an artefact stands for, image by image: its files, or its CAMs cut at a threshold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wsss.config.stage import Scored
from wsss.data.pictures.sizes import shrink_mask
from wsss.labels import IGNORED
from wsss.masks.images import Mask, read_mask
from wsss.masks.seeds import threshold_mask
from wsss.stages.shards import CamShards


class ArtefactMasks:
    """Reads the masks of an artefact that is scored.

    Args:
        folder: of its files.
        how: whether these are CAMs or masks.
    """

    def __init__(self, folder: Path, how: Scored) -> None:
        self.folder = folder
        self.cams = CamShards(folder) if how.files == "maps" else None

    def __contains__(self, id: str) -> bool:
        return self._path(id).is_file() if self.cams is None else id in self.cams.index

    def maps(self, id: str) -> npt.NDArray[Any] | None:
        """Return an image's CAMs float[n, H, W] in [0, 1]; None where the artefact has masks."""
        return None if self.cams is None else self.cams[id][0]

    def mask(self, id: str, size: tuple[int, ...], threshold: float | None = None) -> Mask:
        """Return an image's mask uint8[H, W] at its working size, ids 0..C.

        Args:
            id: of the image.
            size: its working size, (H, W): CAMs of no class don't tell.
            threshold: in [0, 1], where CAMs are cut; masks need none.
        """
        if self.cams is None:
            mask = shrink_mask(read_mask(self._path(id)))
            return np.where(mask == IGNORED, np.uint8(0), mask)  # an import may have gaps
        assert threshold is not None
        maps, keys = self.cams[id]
        return threshold_mask(maps, keys, threshold) if len(keys) else np.zeros(size, np.uint8)

    def _path(self, id: str) -> Path:
        return self.folder / f"{id}.png"
