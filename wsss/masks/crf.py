"""Dense conditional random field: scores that follow the photo's edges.

Mean-field inference in a fully connected Potts model with Gaussian kernels (Krähenbühl and Koltun,
"Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials", NIPS 2011). Imports no
torch, so that worker processes start fast.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
from pydensecrf import densecrf

from wsss.config.params.stages import CrfParams, PseudoMasksParams
from wsss.errors import ConfigError, DataError
from wsss.masks.seeds import background_score, with_background

SMALLEST_SCORE = 1e-5
SMALLEST_PROBABILITY = 1e-3

VECTOR = 4
"""The library filters four labels at once, and three in a tenth more time than four."""
IMPOSSIBLE = 1e4
"""Energy above all others: exp(−1e4) is 0 in float32, others change by rounding at most."""

BYTES_PER_PIXEL = 600, 85
"""Bytes a pixel that the library takes, and those a pixel and label: measured on noise, its worst case."""

Scores = npt.NDArray[np.float32]


def crf_memory(labels: int) -> int:
    """Return the bytes a pixel that a dense CRF over so many labels takes, at most."""
    fixed, per_label = BYTES_PER_PIXEL
    return fixed + per_label * labels


def dense_crf(rgb: npt.NDArray[np.uint8], scores: npt.NDArray[Any], params: CrfParams) -> Scores:
    """Return float32[L, H, W]: the labels' probabilities per pixel, which sum to 1 over L.

    The unary energy is −log of the score clipped to [1e-5, 1]. Raises `DataError` for a photo of another
    type or size.

    Args:
        rgb: the raw photo, uint8[H, W, 3].
        scores: float[L, H, W], a map a label; they need not sum to 1.
        params: weights and widths of the kernels, and the iterations.

    Examples:
        Where the scores are undecided, in the middle, labels follow the photo's edge:

        >>> photo = np.zeros((16, 16, 3), np.uint8)
        >>> photo[:, 8:] = 255
        >>> scores = np.full((2, 16, 16), 0.5)
        >>> scores[0, :, :4], scores[1, :, :4] = 0.9, 0.1
        >>> scores[0, :, 12:], scores[1, :, 12:] = 0.1, 0.9
        >>> labels = dense_crf(photo, scores, CrfParams()).argmax(0)
        >>> labels[8].tolist()
        [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]
    """
    unary = -np.log(np.clip(scores, SMALLEST_SCORE, 1, dtype=np.float32))
    return infer(rgb, unary, params)


def infer(rgb: npt.NDArray[np.uint8], unary: npt.NDArray[Any], params: CrfParams) -> Scores:
    """Return float32[L, H, W]: the mean-field probabilities of unary energies.

    Each kernel, exp(−|Δposition|²/2σ²) and the same times exp(−|Δcolour|²/2σ_c²), is normalised
    symmetrically and counts the pixel itself. Positions are in pixels, colours in 0–255. Starting from
    Q = softmax(−U), every iteration sets Q_i(l) ∝ exp(−U_i(l) + Σ_kernels weight · Σ_j K_ij Q_j(l)).

    Args:
        rgb: the raw photo, uint8[H, W, 3].
        unary: energies, float[L, H, W]; a label with a lower one is likelier.
        params: weights and widths of the kernels, and the iterations.
    """
    labels, height, width = unary.shape
    if rgb.shape != (height, width, 3) or rgb.dtype != np.uint8:
        raise DataError(
            f"photo is {rgb.dtype}{list(rgb.shape)}, but must be uint8{[height, width, 3]} like its scores"
        )
    energies = np.ascontiguousarray(unary.reshape(labels, -1), dtype=np.float32)
    if labels % VECTOR == VECTOR - 1:
        impossible = np.full((1, energies.shape[1]), energies.max(initial=0) + IMPOSSIBLE, np.float32)
        energies = np.concatenate([energies, impossible])
    field = densecrf.DenseCRF2D(width, height, len(energies))
    field.setUnaryEnergy(energies)
    if params.gaussian_weight:
        field.addPairwiseGaussian(sxy=params.gaussian_sigma, compat=params.gaussian_weight)
    if params.bilateral_weight:
        field.addPairwiseBilateral(
            sxy=params.bilateral_sigma,
            srgb=params.bilateral_color_sigma,
            # The library wants a contiguous and writable array; decoded photos often are neither.
            rgbim=np.array(rgb, dtype=np.uint8, order="C"),
            compat=params.bilateral_weight,
        )
    result = np.asarray(field.inference(params.iterations), dtype=np.float32)
    return result[:labels].reshape(labels, height, width)


def cam_to_sure_mask_with_crf(
    rgb: npt.NDArray[np.uint8],
    cams: npt.NDArray[Any],
    keys: npt.ArrayLike,
    params: PseudoMasksParams,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return the mask, uint8[H, W], and how sure each pixel is of it, uint8[H, W] as `confidence` has it.

    The mask holds each pixel's id: 0 is background, key + 1 a class. Labels compete only with the
    background and the classes present; an image without classes is background.

    Args:
        rgb: the raw photo, uint8[H, W, 3].
        cams: float[n, H, W] in [0, 1], a map a class present.
        keys: their 0-based classes, [n].
        params: the background's exponent and the CRF.
    """
    classes = np.asarray(keys, dtype=np.int64)
    if not len(classes):
        return np.zeros(rgb.shape[:2], np.uint8), np.full(rgb.shape[:2], 255, np.uint8)
    scores = with_background(background_score(cams, params.background_exponent), cams)
    return scores_to_sure_mask_with_crf(rgb, scores, classes, params.crf)


def scores_to_sure_mask_with_crf(
    rgb: npt.NDArray[np.uint8], scores: npt.NDArray[Any], keys: npt.ArrayLike, params: CrfParams
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return the ids uint8[H, W] that win a dense CRF, and how surely, uint8[H, W] as `confidence` has it.

    Args:
        rgb: the raw photo, uint8[H, W, 3].
        scores: float[n + 1, H, W], the background's first.
        keys: the 0-based classes of the others, [n].
        params: of the CRF.
    """
    refined = dense_crf(rgb, scores, params)
    return scores_to_mask(refined, keys), confidence(refined)


def confidence(scores: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return uint8[H, W], 255 times the largest score's share of all scores float[L, H, W], rounded."""
    # Label by label: the library's result has the labels innermost, where reductions over them crawl.
    total = functools.reduce(np.add, scores).astype(np.float32)
    share = np.zeros(total.shape, np.float32)
    np.divide(functools.reduce(np.maximum, scores), total, out=share, where=total > 0)
    result: npt.NDArray[np.uint8] = np.rint(255 * share).astype(np.uint8)
    return result


def probabilities_to_mask_with_crf(
    rgb: npt.NDArray[np.uint8], probabilities: npt.NDArray[Any], params: CrfParams
) -> npt.NDArray[np.uint8]:
    """Return uint8[H, W], the ids that win a dense CRF.

    Ids that reach a probability of 1e-3 nowhere can't win; leaving them out saves time.

    Args:
        rgb: the raw photo, uint8[H, W, 3].
        probabilities: of every id, float[C + 1, H, W] in [0, 1].
        params: of the CRF.
    """
    possible = np.flatnonzero(probabilities.max((1, 2)) >= SMALLEST_PROBABILITY)
    winners = dense_crf(rgb, probabilities[possible], params).argmax(0)
    mask: npt.NDArray[np.uint8] = possible[winners].astype(np.uint8)
    return mask


def possible_labels(probabilities: npt.NDArray[Any]) -> int:
    """Return how many labels of probabilities float[L, H, W] can win a dense CRF."""
    return int((probabilities.max((1, 2)) >= SMALLEST_PROBABILITY).sum())


def scores_to_mask(scores: npt.NDArray[Any], keys: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    """Return uint8[H, W], the id with the largest of scores float[n + 1, H, W]: 0, or key + 1."""
    ids = np.concatenate([[0], np.asarray(keys, dtype=np.int64) + 1]).astype(np.uint8)
    mask: npt.NDArray[np.uint8] = ids[scores.argmax(0)]
    return mask


def labels_to_unary(labels: npt.NDArray[Any], count: int, confidence: float) -> Scores:
    """Return float32[count, H, W]: energies of hard labels.

    −log(confidence) for a pixel's own label and −log((1 − confidence)/(count − 1)) for each other one,
    as IRNet (Ahn et al., CVPR 2019) does with confidence 0.7. Raises `ConfigError` and `DataError` for
    values outside the ranges below.

    Args:
        labels: int[H, W] in [0, count − 1].
        count: how many labels there are.
        confidence: of a pixel's own label, in (0, 1).
    """
    if not 0 < confidence < 1:
        raise ConfigError(f"`confidence` is {confidence}, but must be in (0, 1)")
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < count:
        raise DataError(f"labels are in [{labels.min()}, {labels.max()}], but must be in [0, {count - 1}]")
    own = labels[None] == np.arange(count).reshape(-1, 1, 1)
    other = (1 - confidence) / max(1, count - 1)
    unary: Scores = np.where(own, -np.log(confidence), -np.log(other)).astype(np.float32)
    return unary
