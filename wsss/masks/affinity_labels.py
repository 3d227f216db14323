"""Where CAMs can be trusted: labels for learning affinities, with 255 where they can't.

An image's CAMs give two masks, one that errs towards background and one that errs towards the classes;
labels are what both agree on. Imports no torch, so that worker processes start fast.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from wsss.config.params.stages import AffinityLabelsParams, CrfParams
from wsss.labels import IGNORED
from wsss.masks.crf import dense_crf, infer, labels_to_unary
from wsss.masks.seeds import background_score, with_background

CONFIDENCE = 0.7
"""The CRF's confidence in hard labels (IRNet: Ahn et al., CVPR 2019)."""

Labels = npt.NDArray[np.uint8]


def affinity_labels(
    rgb: npt.NDArray[np.uint8], cams: npt.NDArray[Any], keys: npt.ArrayLike, params: AffinityLabelsParams
) -> Labels:
    """Return uint8[H, W]: 0 where background is sure, key + 1 where a class is, 255 elsewhere.

    An image without classes is background.

    Args:
        rgb: the photo, uint8[H, W, 3].
        cams: float[n, H, W] in [0, 1], a map a class present.
        keys: their 0-based classes, [n].
        params: the two strengths of the background, and the CRF.
    """
    classes = np.asarray(keys, dtype=np.int64)
    if not len(classes):
        return np.zeros(rgb.shape[:2], np.uint8)
    if params.thresholds is None:
        sure_class = _by_exponent(rgb, cams, params.low, params.crf)
        sure_background = _by_exponent(rgb, cams, params.high, params.crf)
    else:
        high, low = params.thresholds
        sure_class = _by_threshold(rgb, cams, high, params.crf)
        sure_background = _by_threshold(rgb, cams, low, params.crf)
        # IRNet trusts a background only where both masks show one.
        sure_background = np.where(sure_class > 0, sure_class, sure_background)
    ids = np.concatenate([[0], classes + 1]).astype(np.uint8)
    return merge(ids[sure_class], ids[sure_background])


def merge(sure_class: Labels, sure_background: Labels) -> Labels:
    """Return the classes of the one mask, the background of the other (which wins), 255 elsewhere.

    `sure_class` comes from a strong background, so its classes can be trusted; `sure_background` from a
    weak one.
    """
    result: Labels = np.where(sure_class > 0, sure_class, np.uint8(IGNORED))
    result[sure_background == 0] = 0
    return result


def _by_exponent(
    rgb: npt.NDArray[np.uint8], cams: npt.NDArray[Any], exponent: float, crf: CrfParams
) -> npt.NDArray[np.intp]:
    scores = with_background(background_score(cams, exponent), cams)
    winners: npt.NDArray[np.intp] = dense_crf(rgb, scores, crf).argmax(0)
    return winners


def _by_threshold(
    rgb: npt.NDArray[np.uint8], cams: npt.NDArray[Any], threshold: float, crf: CrfParams
) -> npt.NDArray[np.intp]:
    background = np.full(cams.shape[1:], threshold, np.float32)
    hard = with_background(background, cams).argmax(0)
    winners: npt.NDArray[np.intp] = infer(rgb, labels_to_unary(hard, len(cams) + 1, CONFIDENCE), crf).argmax(
        0
    )
    return winners
