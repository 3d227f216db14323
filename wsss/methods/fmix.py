"""FMix masks (Harris et al., "FMix: Enhancing Mixed Sample Data Augmentation", 2020).

Low-frequency noise, cut at a quantile: random blobs that cover a chosen share of the image.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.float32]


def fmix_mask(
    height: int,
    width: int,
    share: float,
    *,
    decay: float,
    max_soft: float,
    sampler: Literal["isotropic", "legacy"],
    rng: np.random.Generator,
) -> Mask:
    """Return float32[height, width] in [0, 1] whose mean is `share` to within 1 / (height · width).

    Args:
        height: in pixels.
        width: in pixels.
        share: of the pixels that are 1, in [0, 1].
        decay: the power δ by which the spectrum falls with frequency: the larger, the fewer blobs.
        max_soft: above 0, up to this share of the pixels on either side of an edge ramps from 1 to 0;
            otherwise the mask is 0 or 1.
        sampler: see `low_frequency_image`.
        rng: NumPy's generator.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> mask = fmix_mask(8, 8, 0.25, decay=3, max_soft=0, sampler="isotropic", rng=rng)
        >>> mask.shape, float(mask.mean()), np.unique(mask).tolist()
        ((8, 8), 0.25, [0.0, 1.0])
    """
    grey = low_frequency_image(height, width, decay, sampler, rng)
    return binarise(grey, share, max_soft, rng)


def low_frequency_image(
    height: int, width: int, decay: float, sampler: Literal["isotropic", "legacy"], rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Return float64[height, width]: noise with a spectrum falling as frequency^−decay.

    `isotropic` filters white noise, so that no direction is preferred. Drawing every bin of the half
    spectrum on its own would not do: the inverse transform drops half the power of the column of zero
    horizontal frequency, and masks get taller than wide. `legacy` repeats the first public code, which
    indexed the row frequencies where it meant real and imaginary parts: only two horizontal bins are
    left, so that masks are one interval a row at most.

    Args:
        height: in pixels.
        width: in pixels.
        decay: the power by which the spectrum falls.
        sampler: which spectrum.
        rng: NumPy's generator.
    """
    if sampler == "legacy":
        return _legacy_image(height, width, decay, rng)
    fy = np.fft.fftfreq(height)[:, None]
    fx = np.fft.rfftfreq(width)[None, :]
    scale = _falloff(np.sqrt(fy**2 + fx**2), height, width, decay)
    noise = np.fft.rfft2(rng.standard_normal((height, width)))
    return np.fft.irfft2(scale * noise, s=(height, width))


def _falloff(
    frequency: npt.NDArray[np.float64], height: int, width: int, decay: float
) -> npt.NDArray[np.float64]:
    return np.asarray(1.0 / np.maximum(frequency, 1.0 / max(height, width)) ** decay)


def _legacy_image(height: int, width: int, decay: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """The collapsed spectrum: noise of shape [rows, columns, 2] read along its row axis."""
    fy = np.fft.fftfreq(height)[:, None]
    columns = width // 2 + (2 if width % 2 else 1)
    fx = np.fft.fftfreq(width)[None, :columns]
    scale = _falloff(np.sqrt(fy**2 + fx**2), height, width, decay)[..., None]
    noise = scale * rng.standard_normal((*scale.shape[:2], 2))
    # Rows 0 and 1 of the noise serve as "real" and "imaginary": shape [columns, 2].
    spectrum = noise[0] + 1j * noise[1]
    return np.fft.irfft2(spectrum, s=(height, width))


def binarise(grey: npt.NDArray[np.float64], share: float, max_soft: float, rng: np.random.Generator) -> Mask:
    """Return a mask float32[H, W] with the brightest `share` of the pixels 1 and the rest 0.

    n = ⌈share · H · W⌉ or ⌊share · H · W⌋, each with probability ½; ranks [n − s, n + s) ramp from 1 to
    0 with s = ⌊H · W · min(max_soft, share, 1 − share)⌋, which leaves the mean at `share`.

    Args:
        grey: the image to cut, float64[H, W].
        share: in [0, 1].
        max_soft: in [0, 1]; 0 for a mask of 0 and 1 alone.
        rng: decides how n is rounded.
    """
    size = grey.size
    flat = grey.ravel()
    exact = share * size
    count = int(np.ceil(exact)) if rng.random() < 0.5 else int(np.floor(exact))
    soft = int(size * min(max_soft, share, 1 - share))
    mask = np.zeros(size, np.float32)
    if not soft:
        # A cut needs no order among the pixels on either side of it.
        if count:
            mask[np.argpartition(flat, size - count)[size - count :]] = 1.0
        return mask.reshape(grey.shape)
    values = np.zeros(size, np.float32)
    values[: count - soft] = 1.0
    # 2s ranks whose values fall symmetrically around ½, so that their sum is s.
    steps = (np.arange(2 * soft) + 0.5) / (2 * soft)
    values[count - soft : count + soft] = (1.0 - steps).astype(np.float32)[: size - (count - soft)]
    mask[np.argsort(-flat, kind="stable")] = values
    return mask.reshape(grey.shape)
