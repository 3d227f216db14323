"""How well masks agree with ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wsss.api.pictures import MaskLike, as_mask
from wsss.errors import DataError
from wsss.labels import IGNORED
from wsss.metrics.confusion import confusion, iou, miou
from wsss.metrics.intervals import bootstrap_interval

SAMPLES = 2000


@dataclass(frozen=True)
class Scores:
    """Agreement of masks with ground truth: values in [0, 1], NaN where nothing can be said.

    `miou` is the mean IoU over the classes that occur, background included; counts are summed over images
    before dividing. `low` and `high` are its 95 % interval, from resampling images (2,000 times, seed 0).
    `iou` is that of each class by name, `background` first.
    """

    miou: float
    low: float
    high: float
    iou: dict[str, float]


def score(
    masks: Sequence[MaskLike], truth: Sequence[MaskLike], classes: Sequence[str] | None = None
) -> Scores:
    """Return how well masks agree with ground truth.

    Args:
        masks: what is scored: files, pictures, or integers [H, W]; 0 is background, k + 1 the class k.
        truth: the same of ground truth; 255 is ignored.
        classes: names of the classes without the background; numbers when None.

    Raises `DataError` where their numbers or sizes differ, or an id is of no class.

    Examples:
        >>> import wsss
        >>> truth = np.array([[0, 0, 1], [0, 255, 1]])
        >>> mask = np.array([[0, 1, 1], [0, 1, 1]])
        >>> found = wsss.score([mask], [truth], classes=["cat"])
        >>> round(found.miou, 3), {name: round(value, 3) for name, value in found.iou.items()}
        (0.667, {'background': 0.667, 'cat': 0.667})
    """
    if len(masks) != len(truth) or not masks:
        raise DataError(f"there are {len(masks)} masks and {len(truth)} of ground truth: give one each")
    pairs = [(as_mask(right), as_mask(mine)) for right, mine in zip(truth, masks, strict=True)]
    if classes is None:
        largest = max(max(_largest(right), int(mine.max())) for right, mine in pairs)
        classes = [str(number) for number in range(1, largest + 1)]
    counts = np.stack([confusion(right, mine, len(classes)) for right, mine in pairs])
    total = counts.sum(0)
    low, high = bootstrap_interval(counts, seed=0, samples=SAMPLES)
    values = dict(zip(["background", *classes], iou(total).tolist(), strict=True))
    return Scores(miou(total), low, high, values)


def _largest(truth: np.ndarray) -> int:
    counted = truth[truth != IGNORED]
    return int(counted.max()) if counted.size else 0
