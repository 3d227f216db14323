"""How large a photo, or a copy of it, a computation may see, so that it takes no more memory than it may."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.nn.functional import interpolate

from wsss.data.pictures.sizes import shrunk
from wsss.errors import StageError
from wsss.files import read_json, write_json
from wsss.models.computing.memory import FREE_SHARE, GIB, free_memory

CEILING = 3 * GIB
"""Bytes that one photo may take, on every machine, as far as a smaller copy still is of ordinary size."""
ORDINARY = 2**18
"""Pixels of a photo that is of ordinary size: none is made smaller than that for the ceiling's sake."""
LEAST_PIXELS = 2**12
"""Of a copy: on fewer there is nothing to see, and the computation is given up."""
FILE = "memory.json"
"""What is remembered in a stage's working folder, for when it goes on later."""

Size = tuple[int, int]
"""(height, width)."""

log = logging.getLogger("wsss")


class MemoryBound:
    """Decides over the sizes of copies, and remembers those that are smaller than their photos.

    A photo may take `CEILING`, and no more than most of what is free when the stage is built. A stage that
    goes on later takes no more than before.

    Args:
        work: the stage's folder, which keeps the decision.
        what: names the work, for messages: "the CAMs".
        device: whose memory counts.
    """

    def __init__(self, work: Path, what: str, device: torch.device | str) -> None:
        self.path = work / FILE
        self.what = what
        earlier = read_json(self.path) or {}
        self.budget = min(int(FREE_SHARE * self._free(torch.device(device))), earlier.get("bytes", 2**63))
        """Bytes that are free for a photo."""
        self.smaller: dict[str, list[int]] = earlier.get("smaller", {})
        self._saved = earlier
        self._announced = False
        self.limited = earlier.get("limited", False)
        """Whether free memory, not the ceiling, made a copy smaller."""

    def _free(self, device: torch.device) -> int:
        return free_memory(device)

    def fit(self, id: str, size: Size, per_pixel: float, ordinary: float = ORDINARY) -> Size:
        """Return the (height, width) at which the stage works on a photo.

        Raises `StageError` when less is free than the smallest copies take.

        Args:
            id: of the image.
            size: the photo's (height, width).
            per_pixel: bytes that the work takes for a pixel.
            ordinary: the ceiling alone makes no photo of at most so many pixels smaller.
        """
        ceiling = max(CEILING / per_pixel, ordinary)
        free = self.budget / per_pixel
        width, height = shrunk(size[1], size[0], min(ceiling, free))
        if (height, width) == size:
            return size
        if free < min(LEAST_PIXELS, size[0] * size[1]):
            raise StageError(
                f"{self.what} of {id} take {LEAST_PIXELS * per_pixel / GIB:.2f} GiB even on a copy of "
                f"{LEAST_PIXELS} pixels, more than the {self.budget / GIB:.2f} that they may take"
            )
        self.limited |= free < ceiling
        self.smaller[id] = [height, width]
        if not self._announced:
            self._announced = True
            why = (
                f"the {self.budget / GIB:.2f} that are free for it" if free < ceiling else f"{CEILING // GIB}"
            )
            log.warning(
                "%s of %s, of %d × %d pixels, would take %.1f GiB, more than %s: they are made on a copy of "
                "%d × %d, as for other photos like it; the record names them",
                self.what, id, size[1], size[0], size[0] * size[1] * per_pixel / GIB, why, width, height,
            )  # fmt: skip
        return height, width

    def save(self) -> None:
        """Remember what was decided, for when the stage goes on later."""
        state = {"bytes": self.budget, "smaller": dict(self.smaller), "limited": self.limited}
        if state != self._saved:
            write_json(self.path, state)
            self._saved = state

    def notes(self) -> dict[str, Any]:
        """Return what stands in the record: nothing, unless a copy was smaller than its photo."""
        if not self.smaller:
            return {}
        allowed = {"free_memory_allowed_gib": round(self.budget / GIB, 3)} if self.limited else {}
        return {"smaller": dict(self.smaller), **allowed}


def copies(
    photo: npt.NDArray[np.uint8], maps: npt.NDArray[Any], size: Size
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[Any]]:
    """Return a photo and its maps at a smaller size.

    Args:
        photo: uint8[H, W, 3].
        maps: float[n, H, W].
        size: (height, width).
    """
    if photo.shape[:2] == size:
        return photo, maps
    small = np.array(Image.fromarray(photo).resize(size[::-1], Image.Resampling.BICUBIC))
    if not len(maps):
        return small, maps
    pooled = interpolate(torch.from_numpy(np.asarray(maps, np.float32))[None], size, mode="area")[0]
    return small, pooled.numpy().astype(maps.dtype)
