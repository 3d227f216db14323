"""Class probabilities of whole photos from a segmentation network, without any label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from wsss.errors import DataError, StageError
from wsss.models.computing.precision import applied, sent
from wsss.models.computing.statistics import HasStatistics, channel_statistics
from wsss.models.networks.deeplab import fuse


class PyramidNetwork(HasStatistics, Protocol):
    """What segmenting needs of a network: logits at several scales, and how to normalise its input."""

    def pyramid(self, x: Tensor, scales: Sequence[float]) -> list[Tensor]:
        """Return, for each scale, the logits float32[B, C + 1, h, w] of float32[B, 3, H, W]."""


class Views(TypedDict):
    """How a network is shown a photo, and where."""

    scales: Sequence[float]
    """Factors of the photo's size."""
    flip: bool
    """Whether the mirrored photo is shown too."""
    device: torch.device | str
    """Where the network is."""


def segment(
    network: PyramidNetwork, photo: npt.NDArray[np.uint8], **views: Unpack[Views]
) -> npt.NDArray[np.float32]:
    """Return float32[C + 1, H, W], the probabilities of background and classes, which sum to 1 a pixel.

    At each scale s the network sees the photo at ⌊s·H⌋ × ⌊s·W⌋ pixels (bilinear); of the logits, brought to
    one grid, the largest counts; with `flip` their mean with those of the mirrored photo. They are upsampled
    bilinearly (`align_corners=False`) to H × W before the softmax.

    Raises `DataError` for another kind of photo and `StageError` when a logit isn't finite.

    Args:
        network: on `device`, in evaluation mode.
        photo: RGB uint8[H, W, 3].
        **views: `scales`, `flip` and `device`, as `Views` describes each.

    Examples:
        A stand-in for a network, which sees a class wherever the photo is bright:

        >>> class Bright:
        ...     mean, std = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
        ...     def pyramid(self, x, scales):
        ...         brightness = x.mean(1, keepdim=True)
        ...         return [torch.cat([-brightness, brightness], 1) for _ in scales]
        >>> photo = np.zeros((2, 4, 3), np.uint8)
        >>> photo[:, 2:] = 255
        >>> probabilities = segment(Bright(), photo, scales=[1.0], flip=True, device="cpu")
        >>> probabilities.shape, probabilities[1, 0].astype(float).round(2).tolist()
        ((2, 2, 4), [0.12, 0.12, 0.88, 0.88])
    """
    return segment_batch(network, [photo], **views)[0]


def segment_batch(
    network: PyramidNetwork,
    photos: Sequence[npt.NDArray[np.uint8]],
    **views: Unpack[Views],
) -> list[npt.NDArray[np.float32]]:
    """Return what `segment` returns of each of several photos of one size, in one pass.

    Args:
        network: on `device`, in evaluation mode.
        photos: RGB uint8[H, W, 3], all of one size.
        **views: as of `segment`.
    """
    with torch.inference_mode():
        found = _probabilities(network, photos, **views)
        return list(found.cpu().numpy())


def label_batch(
    network: PyramidNetwork,
    photos: Sequence[npt.NDArray[np.uint8]],
    **views: Unpack[Views],
) -> list[npt.NDArray[np.uint8]]:
    """Return uint8[H, W] of each photo, the number of its most probable label, the first of equals.

    A GPU finds it itself: one byte a pixel has to be fetched, not a float for each label. The arguments are
    those of `segment_batch`.
    """
    with torch.inference_mode():
        found = _probabilities(network, photos, **views)
        if found.is_cuda:
            return list(found.argmax(1).to(torch.uint8).cpu().numpy())
        return [probabilities.argmax(0).astype(np.uint8) for probabilities in found.numpy()]


def _probabilities(
    network: PyramidNetwork,
    photos: Sequence[npt.NDArray[np.uint8]],
    **views: Unpack[Views],
) -> Tensor:
    """Return float32[B, C + 1, H, W] on the device."""
    for photo in photos:
        if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
            raise DataError(f"photo is {photo.dtype}{list(photo.shape)}, but must be uint8[H, W, 3]")
    if len({photo.shape for photo in photos}) != 1:
        raise DataError(f"photos are of {sorted({photo.shape for photo in photos})}, but must be of one size")
    pixels = sent(torch.from_numpy(np.stack(photos)), views["device"]).permute(0, 3, 1, 2).float() / 255
    mean, std = channel_statistics(network, pixels)
    x = ((pixels - mean) / std).contiguous(memory_format=torch.channels_last)
    logits = _fused(network, x, views["scales"])
    if views["flip"]:
        logits = (logits + _fused(network, x.flip(-1), views["scales"]).flip(-1)) / 2
    logits = interpolate(logits, photos[0].shape[:2], mode="bilinear", align_corners=False)
    if not bool(torch.isfinite(logits).all()):
        raise StageError("a logit is not finite: the segmentation network has diverged")
    return logits.softmax(1)


def _fused(network: PyramidNetwork, x: Tensor, scales: Sequence[float]) -> Tensor:
    with applied(network, x.device):
        pyramid = network.pyramid(x, scales)
    return fuse([logits.float() for logits in pyramid], scales)
