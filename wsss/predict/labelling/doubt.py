"""How far a mask can be believed without the truth, and which masks somebody should draw first."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wsss.masks.images import Mask

POOR = 0.6
"""Mean belief below which masks are called poor."""
MOST_NAMED = 10


@dataclass(frozen=True)
class Looked:
    """What is found of one photo's mask.

    Args:
        belief: how far network and mask agree where the object is, in [0, 1].
        lost: classes that its labels name, from 0, of which the mask shows nothing.
        classes: all classes that its labels name.
    """

    belief: float
    lost: tuple[int, ...]
    classes: tuple[int, ...]

    @property
    def doubt(self) -> float:
        """How much a drawn mask would say, from 0 on: a class that is lost counts as a whole mask."""
        return 1 - self.belief + len(self.lost)


def look_at(maps: npt.NDArray[np.floating], keys: npt.NDArray[np.int64], mask: Mask) -> Looked:
    """Return how well the network's probabilities support a mask: the soft IoU of both, which is low where
    the network is unsure or was overruled, and the classes that the mask has lost.

    Args:
        maps: float[n, H, W], the network's probabilities of the classes that labels name.
        keys: those classes, from 0.
        mask: uint8[H, W]; ids count from 1.
    """
    classes = tuple(int(key) for key in keys)
    lost = tuple(key for key in classes if not (mask == key + 1).any())
    if not classes:
        return Looked(1.0, (), ())
    given = np.stack([mask == key + 1 for key in classes]).astype(np.float32)
    both = np.minimum(maps, given).sum()
    either = np.maximum(maps, given).sum()
    return Looked(float(both / either) if either else 0.0, lost, classes)


def worth_drawing(looked: Mapping[str, Looked], most: int = MOST_NAMED) -> list[str]:
    """Return the photos whose masks would help most: those in most doubt, in turn for each class.

    Args:
        looked: by id.
        most: how many to name.
    """
    order = sorted(looked, key=lambda id: (-looked[id].doubt, id))
    known = sorted({key for one in looked.values() for key in one.classes})
    queues: list[Sequence[str]] = [[id for id in order if key in looked[id].classes] for key in known]
    taken: dict[str, None] = {}
    for rank in itertools.zip_longest(*queues):
        for id in rank:
            if id is not None and len(taken) < most:
                taken[id] = None
    return list(taken)


def mean_belief(looked: Mapping[str, Looked]) -> float:
    """Return the mean belief in masks of photos with a class, in [0, 1]; 1 without any."""
    found = [0.0 if one.lost else one.belief for one in looked.values() if one.classes]
    return float(np.mean(found)) if found else 1.0
