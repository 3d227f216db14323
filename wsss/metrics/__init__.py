"""Scores: agreement of masks, threshold curves of CAMs, intervals, floors and ranking."""

from wsss.labels import IGNORED
from wsss.metrics.best_of import BestOf, best_of, best_of_draws, best_of_weights
from wsss.metrics.boundary import boundary_counts, boundary_f, error_split, mean_boundary_f
from wsss.metrics.confusion import (
    confusion,
    foreground_precision,
    foreground_recall,
    fp_fn_ratio,
    iou,
    miou,
    pixel_accuracy,
    summary,
)
from wsss.metrics.curve import THRESHOLDS, WHOLE_RANGE, ThresholdCurve
from wsss.metrics.few_masks import choose_with
from wsss.metrics.floor import centre_box
from wsss.metrics.intervals import bootstrap_interval, bootstrap_mious, paired_difference
from wsss.metrics.pxap import PixelRanking
from wsss.metrics.ranking import average_precisions, mean_average_precision
from wsss.metrics.seeds import estimate, holm

__all__ = [
    "IGNORED",
    "THRESHOLDS",
    "WHOLE_RANGE",
    "BestOf",
    "PixelRanking",
    "ThresholdCurve",
    "average_precisions",
    "best_of",
    "best_of_draws",
    "best_of_weights",
    "bootstrap_interval",
    "bootstrap_mious",
    "boundary_counts",
    "boundary_f",
    "centre_box",
    "choose_with",
    "confusion",
    "error_split",
    "estimate",
    "foreground_precision",
    "foreground_recall",
    "fp_fn_ratio",
    "holm",
    "iou",
    "mean_average_precision",
    "mean_boundary_f",
    "miou",
    "paired_difference",
    "pixel_accuracy",
    "summary",
]
