"""Names of the numbers that stages report after a step and that schedulers, MLflow and reports look for.

A stage may report others as well: they are in its record's history and in MLflow.
"""

from __future__ import annotations

LOSS, LR = "loss", "lr"
MAP = "mAP"
"""Of a classifier on hold-out images, in [0, 1]."""
MAP_SIZE = "mAP_size"
"""The long side, in pixels, at which they were shown."""
RUNG_SCORE = "rung_score"
"""The quick CAM score, in [0, 1], by which schedulers judge a trial."""
HOLDOUT_MIOU = "holdout/miou"
"""Agreement of a segmentation network with the pseudo masks of the hold-out, in [0, 1]."""
HOLDOUT_FLOOR = "holdout/floor"
"""The same of a mask that is nothing but background."""
LOSS_TERM, GRADIENT = "loss/", "gradient/"
"""What the names of a loss's terms, and of their shares of the gradient, begin with."""

COUNTS = ("images", "ignored", "skipped", "subcategories", MAP_SIZE, HOLDOUT_FLOOR)
"""Numbers that say how far a stage is, or what another was measured on. MLflow keeps all others."""


def is_tracked(name: str) -> bool:
    """Whether MLflow keeps a metric of a step.

    Examples:
        >>> is_tracked("loss/entropy"), is_tracked("images")
        (True, False)
    """
    return name not in COUNTS
