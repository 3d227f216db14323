"""What a photo looks like, in 256 cells: a copy that was resized, saved again or brightened looks the same.

A photo is shrunk to 16 x 16 grey cells. A cell tells something where it is clearly brighter or darker than
its surroundings: plain grounds and slow gradients, which many photos share, tell nothing. Imports no torch.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE = 16
CLEARLY = 1.0
"""Grey levels of 255 by which a cell must differ from the mean of itself and its eight neighbours."""
TELLING = 96
"""Cells, of 256, that must tell something. Of 813 photos of PASCAL VOC all have more (at least 103); a single
shape on a plain ground has at most 91, a gradient 65, a flat picture none."""
SHARED = 0.5
"""Mean of a cell over all photos (brighter 1, darker -1) above which it shows what photos have in common, as
the round field of a microscope. Photos of PASCAL VOC reach 0.21."""
FEWEST = 12
"""Photos below which what they have in common may be chance."""
ALIKE = (4, 5)
"""Share of cells, as a fraction, on which two photos must agree. Measured on PASCAL VOC: copies of half the
size, of JPEG quality 30, or 1.3 times as bright have 0.82 and more, any two others at most 0.53."""
LOOK = "^([A-Za-z0-9+/]{86}==)?$"
"""A look as a regular expression: base64 of 256 bits for brighter cells and 256 for darker ones."""
BLOCK = 2048

Codes = npt.NDArray[np.float32]


def look_of(photo: Image.Image) -> str:
    """Return the look of an upright photo, "" for one with too few cells that tell something."""
    small = photo.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    padded = np.pad(np.asarray(small, np.float32), 1, mode="edge")
    around = np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).mean(axis=(2, 3))
    above = padded[1:-1, 1:-1] - around
    signs = np.stack([above >= CLEARLY, above <= -CLEARLY])
    if signs.sum() < TELLING:
        return ""
    return base64.b64encode(np.packbits(signs).tobytes()).decode()


def telling_cells(looks: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return which cells, bool[256], tell photos apart: not those that most photos of a data set share."""
    known = [look for look in looks if look]
    if len(known) < FEWEST:
        return np.ones(SIDE * SIDE, bool)
    total = sum(_codes(known[start : start + BLOCK]).sum(axis=0) for start in range(0, len(known), BLOCK))
    return np.asarray(np.abs(total) <= SHARED * len(known))


def look_alikes(
    mine: Sequence[str], theirs: Sequence[str], cells: npt.NDArray[np.bool_]
) -> list[tuple[int, int]]:
    """Return the places of looks of `mine` that are like one of `theirs`, each with that of the first such.

    Two looks agree by the cells that tell the same in both, less those that tell the opposite, over the mean
    number of cells that tell something (Dice's coefficient). Holds a few thousand looks unpacked at once.

    Args:
        mine: looks.
        theirs: looks.
        cells: those to compare, bool[256]; a look with too few of them is like none.
    """
    above, below = ALIKE
    found: dict[int, int] = {}
    for here in range(0, len(mine), BLOCK):
        codes, count, known = _telling(mine[here : here + BLOCK], cells)
        for there in range(0, len(theirs), BLOCK):
            others, their_count, their_known = _telling(theirs[there : there + BLOCK], cells)
            # 2 x agreement / (count + other count) >= above / below, in whole numbers
            alike = 2 * below * (codes @ others.T) >= above * (count[:, None] + their_count)
            alike &= known[:, None] & their_known
            for row in np.flatnonzero(alike.any(axis=1)):
                found.setdefault(here + int(row), there + int(alike[row].argmax()))
    return sorted(found.items())


def _telling(
    looks: Sequence[str], cells: npt.NDArray[np.bool_]
) -> tuple[Codes, npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Return codes float32[N, 256] in the cells, how many tell something, and whether they suffice."""
    codes = _codes(looks) * cells
    count = np.abs(codes).sum(axis=1)
    return codes, count, count >= TELLING


def _codes(looks: Sequence[str]) -> Codes:
    """Return 1 where a cell is brighter, -1 where it is darker, else 0: float32[N, 256]; 0 for no look."""
    size = SIDE * SIDE // 8
    packed = b"".join(base64.b64decode(look) if look else bytes(2 * size) for look in looks)
    bits = np.unpackbits(np.frombuffer(packed, np.uint8).reshape(-1, 2, size), axis=2)
    return bits[:, 0].astype(np.float32) - bits[:, 1].astype(np.float32)
