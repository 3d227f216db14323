"""How well a segmentation network agrees with the pseudo masks of photos that it has not learnt from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from wsss.data.photo_set import Dataset
from wsss.data.pictures.sizes import resize_mask
from wsss.masks.images import Mask
from wsss.masks.segmentation import label_batch
from wsss.metrics import confusion, miou
from wsss.models import DeepLab


def compared(
    network: DeepLab,
    dataset: Dataset,
    labels: Callable[[str], Mask],
    ids: Sequence[str],
    device: torch.device,
    *,
    most: int | None = None,
) -> npt.NDArray[np.int64]:
    """Return int64[C + 1, C + 1]: pixels of all photos by the pseudo mask's id (row) and the network's.

    Args:
        network: on `device`, in evaluation mode.
        dataset: has the photos.
        labels: gives the pseudo mask uint8[H, W] of a photo, 255 where nothing is known.
        ids: of the photos.
        device: where the network is.
        most: pixels of a photo; of a larger one a smaller copy is compared. None compares all as they are.
    """
    classes = len(network.classes)
    total = np.zeros((classes + 1, classes + 1), np.int64)
    for id in ids:
        photo, mask = _small_enough(np.asarray(dataset.image(id)), labels(id), most)
        (found,) = label_batch(network, [photo], scales=(1.0,), flip=False, device=device)
        total += confusion(mask, found, classes)
    return total


def floor(total: npt.NDArray[np.int64]) -> float:
    """Return the mIoU in [0, 1] of masks that are nothing but background.

    Args:
        total: int[C + 1, C + 1], true ids in rows.

    Examples:
        Three quarters of all pixels are background, and one class has the rest:

        >>> floor(np.array([[50, 25], [0, 25]]))
        0.375
    """
    empty = np.zeros_like(total)
    empty[:, 0] = total.sum(1)
    return miou(empty)


def _small_enough(photo: npt.NDArray[np.uint8], mask: Mask, most: int | None) -> tuple[Any, Mask]:
    """Return a photo uint8[H, W, 3] and its mask uint8[H, W], or copies of at most so many pixels."""
    factor = 1.0 if most is None else math.sqrt(most / mask.size)
    if factor >= 1:
        return photo, mask
    size = (max(1, int(mask.shape[1] * factor)), max(1, int(mask.shape[0] * factor)))
    small = Image.fromarray(photo).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(small), resize_mask(mask, size)


class Best:
    """The best score so far, the weights that had it, and for how many epochs nothing was better."""

    def __init__(self) -> None:
        self.score = -1.0
        self.stale = 0
        self.weights: dict[str, Tensor] = {}

    def offer(self, score: float, network: nn.Module) -> None:
        self.stale += 1
        if score > self.score:
            self.score, self.stale = score, 0
            self.weights = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        return {"score": self.score, "stale": self.stale, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.score, self.stale, self.weights = float(state["score"]), int(state["stale"]), state["weights"]
