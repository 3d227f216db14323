"""Class activation maps of whole photos, summed over scales and mirrored copies.

A CAM is the class's weighted sum of the last feature map (Zhou et al., "Learning Deep Features for
Discriminative Localization", CVPR 2016). Summing the rectified maps of several scales and of their
mirrored copies, then dividing by each map's maximum, is what AffinityNet (Ahn and Kwak, CVPR 2018)
and its successors do.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from wsss.errors import DataError, StageError
from wsss.models.computing.precision import applied, sent
from wsss.models.computing.statistics import HasStatistics, channel_statistics

EPSILON = 1e-5
"""Added to a map's maximum before dividing by it, so that an empty map stays empty."""
BATCH_PIXELS = {"cpu": 2**18, "cuda": 2**22}
"""Most pixels of one forward pass at the largest scale, mirrored copies included. On a CPU, activations
beyond its caches cost three times the time."""
TOGETHER_PIXELS = 2**21
"""Most pixels of a photo and its mirrored copy that go through a network together."""
LEGACY_STRIDE = 16

Size = tuple[int, int]
Registration = Literal["exact", "legacy"]


class CamSource(HasStatistics, Protocol):
    """What CAMs need of a network: maps before rectification, and how to normalise its input."""

    def cam(self, x: Tensor) -> Tensor:
        """Map float32[B, 3, h, w] to float32[B, C, h', w'], a map a class."""


@runtime_checkable
class SubcategorySource(CamSource, Protocol):
    """A network whose `cam` gives float32[B, S, h', w'], a map a sub-category."""

    @property
    def parents(self) -> Sequence[int]:
        """The class of each of the S sub-categories."""


def group_by_size(sizes: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """Return the indices of equal sizes together, in order of first appearance."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, size in enumerate(sizes):
        groups.setdefault(tuple(size), []).append(index)
    return list(groups.values())


def scaled_size(height: int, width: int, scale: float, size: int | None = None) -> Size:
    """Return the (height, width) of an image at a scale, each at least 1 pixel.

    Args:
        height: of the photo.
        width: of the photo.
        scale: above 0.
        size: the long side at scale 1; the photo's own when None.
    """
    if size is not None:
        factor = size / max(height, width)
        height, width = max(1, round(factor * height)), max(1, round(factor * width))
    return max(1, round(scale * height)), max(1, round(scale * width))


def images_at_once(
    height: int,
    width: int,
    *,
    scales: Sequence[float],
    flip: bool,
    size: int | None,
    device: torch.device | str,
) -> int:
    """Return how many images of a size `multi_scale_cams` puts through the network together.

    Args:
        height: of the photos.
        width: of the photos.
        scales: factors of the photo's size.
        flip: whether mirrored copies are shown too.
        size: the long side at scale 1; the photo's own when None.
        device: where the network is.
    """
    sizes = [scaled_size(height, width, scale, size) for scale in scales]
    largest = max([height * width, *((1 + flip) * h * w for h, w in sizes)])
    return max(1, BATCH_PIXELS.get(torch.device(device).type, 2**22) // largest)


def multi_scale_cams(
    network: CamSource,
    images: Sequence[npt.NDArray[np.uint8]],
    keys: Sequence[npt.ArrayLike],
    *,
    scales: Sequence[float],
    flip: bool,
    size: int | None,
    device: torch.device | str,
    registration: Registration = "exact",
) -> list[npt.NDArray[np.float16]]:
    """Return, per image, the normalised CAMs of the classes in `keys`: float16[n, H, W] in [0, 1].

    At each scale s the network sees the photo at round(s·H') × round(s·W'), where H' × W' is its own size or
    that with long side `size`. Resizing is torch's bicubic filter with antialiasing, on floats and
    clamped to the input range. The rectified maps are upsampled bilinearly (`align_corners=False`) to
    exactly H × W, summed over scales and mirrored copies, and divided by (maximum + 1e-5).
    Maps of sub-categories are each summed over scales and mirrored copies; then a class's map is the largest
    of its own, divided by the class's maximum (Chang et al., CVPR 2020); a class without any gets an empty
    map.

    Raises `DataError` for images of several sizes and `StageError` when a map isn't finite.

    Args:
        network: gives the maps before rectification; on `device`, in evaluation mode.
        images: photos, RGB uint8[H, W, 3], all of one size.
        keys: the 0-based classes to map, one list per image.
        scales: factors of the photo's size, each above 0.
        flip: whether the mirrored photo is shown too.
        size: the long side at scale 1, in pixels; the photo's own when None.
        device: a torch device.
        registration: "legacy" upsamples to the next multiples of 16 and crops, mirrored copies before they
            are mirrored back, as the first public code does, which moves maps of other strides off their
            objects.

    Examples:
        A stand-in for a network, whose two maps are the red channel and the green one, at half the size:

        >>> class Colours:
        ...     mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        ...     def cam(self, x):
        ...         return x[:, :2, ::2, ::2]
        >>> photo = np.zeros((4, 8, 3), np.uint8)
        >>> photo[:, :4, 0] = 255  # red on the left
        >>> (cams,) = multi_scale_cams(
        ...     Colours(), [photo], [[0]], scales=[1.0], flip=True, size=None, device="cpu"
        ... )
        >>> cams.shape, cams.dtype
        ((1, 4, 8), dtype('float16'))
        >>> cams[0, 0].astype(float).round(1).tolist()
        [1.0, 1.0, 1.0, 0.8, 0.2, 0.0, 0.0, 0.0]
    """
    if not images:
        return []
    shapes = {image.shape for image in images}
    if len(shapes) > 1 or next(iter(shapes))[2:] != (3,):
        raise DataError(f"images have the shapes {sorted(shapes)}, but must all be the same [H, W, 3]")
    if len(keys) != len(images):
        raise DataError(f"there are {len(keys)} lists of classes, but must be {len(images)}, one per image")
    classes = [np.asarray(key, dtype=np.int64) for key in keys]
    height, width = images[0].shape[:2]
    sizes = [scaled_size(height, width, scale, size) for scale in scales]
    batch = images_at_once(height, width, scales=scales, flip=flip, size=size, device=device)

    cams: list[npt.NDArray[np.float16]] = []
    with torch.inference_mode():
        for start in range(0, len(images), batch):
            part = classes[start : start + batch]
            photos = images[start : start + batch]
            wanted, counts = _channels(network, part)
            maps = _summed_maps(
                network, photos, wanted, sizes, flip=flip, device=device, registration=registration
            )
            if counts is not None:
                maps = _largest(maps, counts)
            cams.extend(_split(_normalise(maps), [len(key) for key in part]))
    return cams


def _channels(
    network: CamSource, keys: Sequence[npt.NDArray[np.int64]]
) -> tuple[Sequence[npt.NDArray[np.int64]], list[int] | None]:
    """Return, per image, the maps to sum for the classes in `keys`, and how many each class has, one image
    after the other; None where every class has one of its own."""
    if not isinstance(network, SubcategorySource):
        return keys, None
    parents = np.asarray(network.parents, dtype=np.int64)
    members = [[np.flatnonzero(parents == label) for label in key] for key in keys]
    wanted = [np.concatenate([np.empty(0, np.int64), *found]) for found in members]
    return wanted, [len(own) for found in members for own in found]


def _summed_maps(
    network: CamSource,
    images: Sequence[npt.NDArray[np.uint8]],
    keys: Sequence[npt.NDArray[np.int64]],
    sizes: Sequence[Size],
    *,
    flip: bool,
    device: torch.device | str,
    registration: Registration,
) -> Tensor:
    """Return float32[M, H, W], the M maps of all images' classes one after the other."""
    height, width = images[0].shape[:2]
    photos = sent(torch.from_numpy(np.stack(images)), device).permute(0, 3, 1, 2).float().contiguous() / 255
    owner = sent(torch.from_numpy(np.repeat(np.arange(len(keys)), [len(key) for key in keys])), device)
    wanted = sent(torch.from_numpy(np.concatenate(keys)), device)
    mean, std = channel_statistics(network, photos)
    total = photos.new_zeros((len(wanted), height, width))
    for size in sizes:
        x = (_resize(photos, size) - mean) / std
        if flip and len(x) == 1 and 2 * x.shape[2] * x.shape[3] > TOGETHER_PIXELS:
            maps = torch.cat([_maps(network, x), _maps(network, x.flip(-1))]).relu()
        else:
            maps = _maps(network, torch.cat([x, x.flip(-1)]) if flip else x).relu()
        present = maps[owner, wanted]
        if registration == "legacy":
            total += _legacy_upsampled(present, (height, width))
            if flip:
                total += _legacy_upsampled(maps[owner + len(keys), wanted], (height, width)).flip(-1)
            continue
        if flip:
            # Mirroring back on the feature grid is exact: bilinear interpolation without aligned
            # corners to the photo's full width commutes with mirroring, and nothing has been cropped.
            present = present + maps[owner + len(keys), wanted].flip(-1)
        total += _upsampled(present, (height, width))
    return total


def _maps(network: CamSource, x: Tensor) -> Tensor:
    if x.is_cuda:  # on a CPU another layout gives other bits
        x = x.contiguous(memory_format=torch.channels_last)
    with applied(network, x.device):
        maps = network.cam(x)
    return maps.float()


def _largest(maps: Tensor, counts: Sequence[int]) -> Tensor:
    """Return float32[M, H, W], the pixel-wise maximum of each run of `counts` maps; 0 of an empty run."""
    result = maps.new_zeros((len(counts), *maps.shape[1:]))
    for target, run in zip(result, torch.split(maps, list(counts)), strict=True):
        if len(run):
            torch.amax(run, 0, out=target)
    return result


def _upsampled(maps: Tensor, size: Size) -> Tensor:
    """Return float32[M, H, W] of maps float32[M, h, w]; M may be 0."""
    if not len(maps):
        return maps.new_zeros((0, *size))
    return interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]


def _legacy_upsampled(maps: Tensor, size: Size) -> Tensor:
    height, width = (LEGACY_STRIDE * math.ceil(length / LEGACY_STRIDE) for length in size)
    return _upsampled(maps, (height, width))[:, : size[0], : size[1]]


def _resize(photos: Tensor, size: Size) -> Tensor:
    if photos.shape[-2:] == size:
        return photos
    return interpolate(photos, size, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)


def _normalise(maps: Tensor) -> Tensor:
    peaks = maps.amax((1, 2), keepdim=True)
    if not bool(torch.isfinite(peaks).all()):
        raise StageError("a class activation map is not finite: the classifier has diverged")
    return maps / (peaks + EPSILON)


def _split(maps: Tensor, lengths: Sequence[int]) -> Iterator[npt.NDArray[np.float16]]:
    array: npt.NDArray[np.float16] = maps.half().cpu().numpy()
    stops = np.cumsum([0, *lengths])
    for start, stop in itertools.pairwise(stops):
        # A copy: the caller may keep one image's maps and drop the others'.
        yield array[start:stop].copy()
