"""The algorithms as functions of arrays: CAMs, dense CRF, random walk, mixing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from wsss.api.pictures import Photo, as_rgb
from wsss.api.settings import checked, chosen_device, class_numbers
from wsss.config.params.base import CrfParams
from wsss.config.params.stages import CamsParams, MixingParams, WalkParams
from wsss.errors import ConfigError, DataError, Problem
from wsss.masks.cams import CamSource, group_by_size, multi_scale_cams
from wsss.masks.crf import dense_crf
from wsss.masks.pairs import pair_affinities, pair_offsets
from wsss.masks.random_walk import pooled, transition, upsampled
from wsss.masks.random_walk import walk as walk_matrix
from wsss.methods.mixing import Mixed, Mixer
from wsss.models.computing.precision import Precision, placed

Maps = npt.NDArray[np.float16]
Scores = npt.NDArray[np.float32]


def cams(
    network: CamSource,
    photos: Sequence[Photo],
    labels: Sequence[Sequence[int]],
    *,
    device: str = "auto",
    **settings: Any,
) -> list[Maps]:
    """Return each photo's class activation maps, float16[n, H, W] in [0, 1], one for each of its n labels, in
    ascending order.

    Args:
        network: gives maps before rectification: a `wsss.models.CamNetwork`, or anything with `cam`, `mean`
            and `std` (`wsss.masks.cams.CamSource`). It is moved to `device` and put into evaluation mode.
        photos: files, pictures, or uint8[H, W, 3], of any sizes.
        labels: the 0-based classes to map, one list a photo; a class that stands twice counts once.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.
        settings: as of the stage `cams`: `scales` (factors of the photo's size, in (0, 16]), `flip`, `size`
            (the long side at scale 1, in pixels from 32 on) and `registration`.

    Raises `ConfigError` for settings that there are not or that are out of range, `DataError` for photos that
    can't be used.

    Examples:
        With an untrained network, to show the shapes; `wsss.load` loads a trained one.

        >>> import wsss
        >>> from wsss.models import CamNetwork, create_backbone
        >>> network = CamNetwork(create_backbone("mobilenet_v2", "none"), classes=3)
        >>> photos = [np.zeros((48, 64, 3), np.uint8), np.zeros((32, 32, 3), np.uint8)]
        >>> [maps.shape for maps in wsss.cams(network, photos, [[0, 2], [1]], scales=[1.0])]
        [(2, 48, 64), (1, 32, 32)]
    """
    if "head" in settings:
        hint = "give a network whose `cam` makes the maps that are wanted"
        raise ConfigError(Problem("wsss.cams", "has no setting `head`, which is of the stage `cams`", hint))
    params = checked(CamsParams, settings, "wsss.cams")
    arrays = [as_rgb(photo) for photo in photos]
    if len(labels) != len(arrays):
        raise DataError(f"there are {len(labels)} lists of labels, but must be {len(arrays)}, one a photo")
    keys = [class_numbers(list(some), (), "wsss.cams") for some in labels]
    place = chosen_device(device)
    if isinstance(network, nn.Module):
        placed(network, place, getattr(network, "precision", Precision())).eval()
    found: dict[int, Maps] = {}
    for group in group_by_size([array.shape for array in arrays]):
        maps = multi_scale_cams(
            network,
            [arrays[number] for number in group],
            [keys[number] for number in group],
            scales=params.scales,
            flip=params.flip,
            size=params.size,
            device=place,
            registration=params.registration,
        )
        found.update(zip(group, maps, strict=True))
    return [found[number] for number in range(len(arrays))]


def crf(photo: Photo, scores: npt.ArrayLike, **settings: Any) -> Scores:
    """Return probabilities float32[L, H, W] after a dense CRF; over L they sum to 1.

    Args:
        photo: a file, a picture, or uint8[H, W, 3].
        scores: float[L, H, W] in [0, 1], one map a label, the background's among them.
        settings: as of `crf` in study files: `iterations` (from 1 on), `gaussian_weight` and
            `bilateral_weight` (0 switches a kernel off), `gaussian_sigma` and `bilateral_sigma` in pixels,
            `bilateral_color_sigma` in levels of 0 to 255.

    Raises `ConfigError` for settings that there are not or that are out of range, `DataError` where sizes
    differ.

    Examples:
        Where the scores are undecided, labels follow the photo's edge:

        >>> import wsss
        >>> photo = np.zeros((16, 16, 3), np.uint8)
        >>> photo[:, 8:] = 255
        >>> scores = np.full((2, 16, 16), 0.5)
        >>> scores[0, :, :4], scores[1, :, :4] = 0.9, 0.1
        >>> scores[0, :, 12:], scores[1, :, 12:] = 0.1, 0.9
        >>> wsss.crf(photo, scores, iterations=10).argmax(0)[8].tolist()
        [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]
    """
    params = checked(CrfParams, settings, "wsss.crf")
    return dense_crf(as_rgb(photo), _maps(scores, "scores"), params)


def walk(
    scores: npt.ArrayLike,
    features: npt.ArrayLike | Tensor,
    *,
    radius: int = 5,
    beta: float = 8.0,
    log_steps: int = 8,
) -> Scores:
    """Return scores float32[L, H, W] after a random walk between cells whose features are alike.

    Affinities are exp(−mean |f_p − f_q|), as AffinityNet has them (Ahn and Kwak, CVPR 2018); features of any
    network do, also of one that was never trained for it.

    Args:
        scores: float[L, H, W], one map a label, the background's among them.
        features: float[D, h, w] of the photo, on a grid of whole strides: h = ⌈H / stride⌉, w = ⌈W / stride⌉.
        radius: a step leads to cells closer than this, in cells, from 2 to 64.
        beta: the power of affinities, above 0: larger means sharper.
        log_steps: the walk takes 2 to this power steps, 0 to 12.

    Raises `ConfigError` for settings out of range, `DataError` for a grid that does not fit.

    Examples:
        Two halves that look different; what is known of one cell spreads over its own half alone:

        >>> import wsss
        >>> features = np.zeros((1, 4, 8), np.float32)
        >>> features[:, :, 4:] = 10
        >>> scores = np.zeros((1, 4, 8))
        >>> scores[0, 0, 0] = 1
        >>> spread = wsss.walk(scores, features, radius=2)
        >>> spread[0, :, :4].min() > 0.01, spread[0, :, 4:].max() < 1e-6
        (np.True_, np.True_)
    """
    given = {"radius": radius, "beta": beta, "log_steps": log_steps}
    params = checked(WalkParams, given, "wsss.walk")
    maps = torch.from_numpy(_maps(scores, "scores"))
    grid = torch.as_tensor(features, dtype=torch.float32)
    if grid.dim() != 3 or not grid.numel():
        raise DataError(f"features are {list(grid.shape)}, but must be [D, h, w]")
    (height, width), (rows, columns) = maps.shape[1:], grid.shape[1:]
    stride = -(-height // rows)
    if (rows, columns) != (-(-height // stride), -(-width // stride)):
        expected = f"⌈{height} / stride⌉ × ⌈{width} / stride⌉"
        raise DataError(f"the grid of features is {rows} × {columns}, but must be {expected}")
    offsets = pair_offsets(params.radius)
    with torch.inference_mode():
        affinities = pair_affinities(grid[None], offsets)
        matrix = transition(affinities, offsets, rows, columns, params.beta)
        walked = walk_matrix(pooled(maps, stride, (rows, columns)), matrix, 2**params.log_steps)
        result: Scores = upsampled(walked, stride, (height, width)).numpy()
    return result


def mix(
    images: Tensor, labels: Tensor, *, kind: str = "mixup", seed: int | None = None, **settings: Any
) -> Mixed:
    """Return a batch whose images, and labels with them, are mixed with a permutation of themselves: its
    `images` and `labels` have the shapes of those given.

    Args:
        images: float32[B, 3, H, W].
        labels: float32[B, C] in [0, 1].
        kind: `mixup`, `fmix`, `manifold`, or another way to mix that is registered. `manifold` leaves images
            as they are where the tap it draws is not `input`: its `mix_features` mixes there.
        seed: of all random choices; drawn anew when None.
        settings: `alpha`, `decay`, `probability` and all else of `mixing` in study files.

    Raises `ConfigError` for settings that there are not, `DataError` for batches that don't fit.

    Examples:
        >>> import wsss
        >>> images = torch.stack([torch.zeros(3, 2, 2), torch.ones(3, 2, 2)])
        >>> mixed = wsss.mix(images, torch.eye(2), kind="mixup", fixed=0.7, seed=2)
        >>> [[round(value, 1) for value in row] for row in mixed.labels.tolist()]
        [[0.7, 0.3], [0.3, 0.7]]
    """
    params = checked(MixingParams, {"kind": kind, **settings}, "wsss.mix")
    if images.dim() != 4 or labels.dim() != 2 or len(images) != len(labels):
        shapes = f"{list(images.shape)} and {list(labels.shape)}"
        raise DataError(f"images and labels are {shapes}, but must be [B, 3, H, W] and [B, C]")
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    taps = ("input",) if params.taps == "all" else params.taps
    return Mixer(params, taps).mix(images.float(), labels.float(), generator)


def _maps(scores: npt.ArrayLike, what: str) -> Scores:
    maps = np.asarray(scores, dtype=np.float32)
    if maps.ndim != 3 or not maps.size:
        raise DataError(f"{what} are {list(maps.shape)}, but must be [L, H, W]")
    return np.ascontiguousarray(maps)
