"""The colours of PASCAL VOC's masks, which those of the sample and of every result have too."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def voc_palette() -> npt.NDArray[np.uint8]:
    """Return uint8[256, 3], the RGB colour of every id.

    The bits of an id are dealt to red, green and blue in turn, the lowest first, and fill each channel
    from its highest bit down; so ids that are close get colours that are not.

    Examples:
        >>> voc_palette()[[0, 1, 2, 15]].tolist()
        [[0, 0, 0], [128, 0, 0], [0, 128, 0], [192, 128, 128]]
    """
    ids = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        channel, place = bit % 3, 7 - bit // 3
        colours[:, channel] |= (((ids >> bit) & 1) << place).astype(np.uint8)
    return colours


PALETTE = voc_palette()
