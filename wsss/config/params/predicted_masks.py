"""The parameters of masks that a classifier makes of photos without labels."""

from __future__ import annotations

from wsss.config.params.base import CrfParams, LongSide, Params, PositiveFloat, Probability, Scales


class PredictedMasksParams(Params):
    """Masks of photos without labels, from a classifier alone: the classes that it predicts are the labels,
    their CAMs and a dense CRF say where."""

    scales: Scales = (0.5, 1.0, 1.5, 2.0)
    flip: bool = True
    size: LongSide | None = None
    """Long side, in pixels, of an image at scale 1; `null` keeps the photo's own size."""
    probability: Probability = 0.5
    """A photo shows the classes that are more probable than this."""
    background_exponent: PositiveFloat = 4.0
    """The background's score is (1 − largest CAM) to this power."""
    crf: CrfParams = CrfParams()
